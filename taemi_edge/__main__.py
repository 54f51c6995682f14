"""`python -m taemi_edge` is `taemi-edge`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line. Until its modules are imported there is nothing to clean up, and Ctrl-C ends at once."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
    from taemi_edge.cli.ending import run_as_program
    from taemi_edge.cli.main import main as run_command_line

    signal.signal(signal.SIGINT, before)
    sys.exit(run_as_program(run_command_line))


def _end(number: int, _frame: object) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
