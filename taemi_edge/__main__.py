"""`python -m taemi_edge` is `taemi-edge`."""

from taemi_edge.cli.main import main

main()
