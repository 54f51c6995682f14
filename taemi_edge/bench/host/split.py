"""Divides the time of the executor among what it does: look, fill, launch and read-back.

The functions that do each of these are named here, and replaced by timed ones while a split is made. Where a version of
the executor lacks one of them, the others count. Stamps cost time, so that a split is made in rounds of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from time import perf_counter_ns
from typing import Any

#: What no named function does.
OTHER = "other"
_TENSORRT = "taemi_edge.runtime.tensorrt"
#: The functions of each part, "MODULE:NAME" or "MODULE:CLASS.NAME". What a function calls that belongs to another part
#: counts there.
PARTS: Mapping[str, tuple[str, ...]] = {
    # which case it is: the calls that the works make, and the contexts and the graph that are kept for them
    "look": (
        "executor:split_into_calls",
        "bindings:Bindings.prepare",
        "graphs:GraphCache.find",
        "graphs:GraphCache.note",
    ),
    # what the device will read
    "fill": ("executor:write_inputs", "descriptor:CallWriter.write", "descriptor:CallWriter.write_hop"),
    # replaying or enqueuing the calls, and waiting for them
    "launch": ("executor:TrtExecutor._run",),
    # outputs, faults and times of the works
    "read-back": (
        "executor:TrtExecutor._outputs_of",
        "executor:TrtExecutor._take_outputs",
        "executor:_results",
        "buffers:Results.faults",
        "executor:TrtExecutor._times",
        "executor:TrtExecutor._result",
    ),
}


class Ledger:
    """Nanoseconds by part; at any moment one part is being paid for, or none."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = {}
        self._part = ""
        self._since_ns = 0

    def enter(self, part: str, began_ns: int) -> str:
        """Pay for another part from now on; returns the one before.

        Args:
            began_ns: when the stamp itself began: from then on nobody pays.
        """
        before = self._part
        if before:
            self.spent_ns[before] = self.spent_ns.get(before, 0) + began_ns - self._since_ns
        self._part = part
        self._since_ns = perf_counter_ns()
        return before


def timed(ledger: Ledger, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose time counts for a part; of a generator, the time of each step."""

    @wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        before = ledger.enter(part, perf_counter_ns())
        try:
            given = function(*args, **named)
        finally:
            ledger.enter(before, perf_counter_ns())
        return _stepwise(ledger, part, given) if isinstance(given, Iterator) else given

    return called


def _stepwise(ledger: Ledger, part: str, steps: Iterator[Any]) -> Iterator[Any]:
    step = timed(ledger, part, lambda: next(steps, ledger))
    while (given := step()) is not ledger:
        yield given


@contextmanager
def split(executor: Any, parts: Mapping[str, tuple[str, ...]] = PARTS) -> Iterator[Ledger]:
    """Replace the functions of the executor's parts by timed ones.

    Args:
        executor: whose `execute` is divided; an attribute of that name is set on it for the time being.
        parts: the functions by part.

    Returns:
        The ledger that fills while the executor runs.
    """
    ledger = Ledger()
    with ExitStack() as stack:
        for part, names in parts.items():
            for name in names:
                _replace(stack, ledger, part, name)
        executor.execute = timed(ledger, OTHER, executor.execute)
        stack.callback(lambda: delattr(executor, "execute"))
        yield ledger


def _replace(stack: ExitStack, ledger: Ledger, part: str, name: str) -> None:
    """Replace one function until the stack closes; do nothing where this version of the executor lacks it."""
    module, _, path = name.partition(":")
    try:
        owner: Any = importlib.import_module(f"{_TENSORRT}.{module}")
    except ModuleNotFoundError:
        return
    *classes, own = path.split(".")
    for each in classes:
        owner = getattr(owner, each, None)
    function = None if owner is None else vars(owner).get(own)
    if callable(function):
        setattr(owner, own, timed(ledger, part, function))
        stack.callback(setattr, owner, own, function)
