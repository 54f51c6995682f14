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
    try:
        from taemi_edge.cli.ending import run_as_program
        from taemi_edge.cli.main import main as run_command_line
    except Exception as error:  # noqa: BLE001 - a library that is missing or broken may raise anything
        sys.exit(_broken(error))

    signal.signal(signal.SIGINT, before)
    sys.exit(run_as_program(run_command_line))


def _broken(error: Exception) -> int:
    """Say why the modules of the command line cannot be imported, and give the exit code."""
    from taemi_edge.cli.unforeseen import defect, exit_code_of_defect, say_traceback
    from taemi_edge.errors import in_one_line

    if isinstance(error, MemoryError | OSError):
        sys.stderr.write(f"taemi-edge: expected to load this program, got {type(error).__name__}: {error}\n")
        return 2
    sys.stderr.write(f"taemi-edge: {in_one_line(defect(error))}\n")
    say_traceback(error)
    return exit_code_of_defect(error)


def _end(number: int, _frame: object) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
