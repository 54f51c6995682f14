"""`python -m taemi_edge` is `taemi-edge`."""

from taemi_edge.cli import main

main()
