"""What is said of an error that nobody foresaw: one sentence, and an exit code that no check has.

Its traceback is printed where TAEMI_EDGE_TRACEBACK is set. This module needs nothing but Python: it speaks also where
the package or a library is broken.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taemi_edge.errors import OutputError, TaemiError, first_line
from taemi_edge.pages import ISSUES

#: EX_SOFTWARE of sysexits.h: a defect. 1 says that a check failed.
UNFORESEEN = 70
#: With this variable each error is followed by its traceback.
TRACEBACK = "TAEMI_EDGE_TRACEBACK"
_PACKAGE = Path(__file__).parents[1]
#: Every error goes through these modules.
_AROUND = ("__main__.py", "cli/main.py", "cli/ending.py", "cli/places.py", "cli/unforeseen.py")


class UnforeseenError(TaemiError):
    """Something ended a command in a way that Typer would pass on as a failed check."""

    exit_code = UNFORESEEN


@contextmanager
def nothing_ends_the_program() -> Iterator[None]:
    """Raise as an error what Typer, inside whose call this stands, would turn into exit code 1 without a reason.

    Raises:
        UnforeseenError: a library or a user's code ended the program, or read beyond the end of a file.
        OutputError: what a command wrote to has gone away.
    """
    try:
        yield
    except SystemExit as error:
        raise UnforeseenError(defect(error)) from error
    except EOFError as error:
        raise UnforeseenError(defect(error)) from error
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        place = error.filename or "a program or server that this command wrote to"
        raise OutputError(f"{place} went away while it was written to: start it again, then this command") from error


def defect(error: BaseException) -> str:
    """Say of an error that it is a defect, where it happened, and how to report it.

    Example:
        >>> defect(KeyError("rate_hz")).partition(": report")[0]
        "taemi-edge has a defect: KeyError: 'rate_hz'"
    """
    if isinstance(error, ImportError) and (name := missing_package(error)):
        return (
            f"expected the package {name}, which is not installed or does not load ({first_line(error)}): run "
            f"`pip install --force-reinstall taemi-edge`"
        )
    kind, said = type(error).__name__, first_line(error)
    what = kind if said == kind else f"{kind}: {said}"
    return (
        f"taemi-edge has a defect: {what}{_place(error)}: report it at {ISSUES} with what you typed and the traceback, "
        f"which {TRACEBACK}=1 before the command prints"
    )


def exit_code_of_defect(error: BaseException) -> int:
    """The exit code for an error that nobody foresaw: a package that is missing is no defect of this one."""
    return 2 if isinstance(error, ImportError) and missing_package(error) else UNFORESEEN


def missing_package(error: ImportError) -> str:
    """The package of another project that an import has failed for; empty where a module of this one is meant."""
    name = (error.name or "").partition(".")[0]
    found = re.match(r"(?:No module named|cannot import name) '([\w.]+)'", str(error))
    name = name or (found[1].partition(".")[0] if found else "")
    return "" if name == "taemi_edge" else name


def say_traceback(error: BaseException) -> None:
    """Print the traceback of an error on standard error where the user's environment asks for it."""
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        sys.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))


def _place(error: BaseException) -> str:
    """The last line of this package that the error went through, without the folders of this machine."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    inside = [frame for frame in own if Path(frame.filename).relative_to(_PACKAGE).as_posix() not in _AROUND]
    if not inside:
        return ""
    return f" ({Path(inside[-1].filename).relative_to(_PACKAGE.parent)}, line {inside[-1].lineno})"
