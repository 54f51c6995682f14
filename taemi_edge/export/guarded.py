"""Runs code of the user's: whatever it raises becomes one sentence that names the line."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from taemi_edge.errors import ContractError, TaemiError
from taemi_edge.export.state_dicts import state_dict_problem

Given = TypeVar("Given")
#: Code in these folders is not the user's.
_LIBRARIES = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")),
)


def run_guarded(call: Callable[[], Given], where: str, what: str) -> Given:
    """Call a function of the user's and return what it gives. Ctrl-C passes, as everywhere.

    Args:
        call: takes nothing.
        where: what an error names first, such as the argument of the command.
        what: what was tried, such as "build() raised".

    Raises:
        ContractError: the function raised something, or wants to end the program.

    Example:
        >>> run_guarded(lambda: 3 // 0, "mine.py:build", "build() raised")
        Traceback (most recent call last):
            ...
        taemi_edge.errors.ContractError: mine.py:build: build() raised ZeroDivisionError: ...
    """
    try:
        return call()
    except TaemiError as error:
        raise ContractError(f"{where}: {error}") from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit, and classes of the user's own
        said = state_dict_problem(str(error)) or (str(error).splitlines() or [""])[0][:200]
        shown = type(error).__name__ + (f": {said}" if said else "")
        raise ContractError(f"{where}: {what} {shown}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """The user's own line in which an error arose, in brackets; nothing where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", *_LIBRARIES))]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
