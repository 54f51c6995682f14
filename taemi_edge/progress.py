"""How work that takes long reports its progress: one protocol for all of it.

A function that takes long has a parameter `progress: Progress = SILENT`. The library prints nothing by itself; the
command line passes an object that draws bars, and a service can pass its own.

Example:
    >>> class Lines:
    ...     def stage(self, text):
    ...         print(text)
    ...     def count(self, done, total, what):
    ...         print(f"{what}: {done} of {total}")
    >>> def double(values, progress=SILENT):
    ...     progress.stage("doubling")
    ...     for done, _ in enumerate(values, 1):
    ...         progress.count(done, len(values), "values")
    >>> double([3], Lines())
    doubling
    values: 1 of 1
    >>> double([3])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """What long work calls as it goes on. Calls come from the thread that does the work."""

    def stage(self, text: str) -> None:
        """A new stage begins; `text` says what is being done, such as "exporting vision"."""

    def count(self, done: float, total: float | None, what: str) -> None:
        """So much of one thing is done.

        Args:
            done: how many, or how many seconds of media.
            total: how many there are in all; None where nobody knows.
            what: what is counted, such as "reading clips". Calls with the same `what` belong to one bar.
        """


class SilentProgress:
    """A `Progress` that does nothing: the default everywhere."""

    def stage(self, text: str) -> None:
        """Do nothing."""

    def count(self, done: float, total: float | None, what: str) -> None:
        """Do nothing."""


#: The default of every `progress` parameter.
SILENT: Progress = SilentProgress()


@dataclass(frozen=True)
class RenamedCounts:
    """Passes counts on under another name, and no stages: for work that is one stage of other work.

    Example:
        >>> RenamedCounts(SILENT, "extracting features").count(1, 2, "encoding clips")
    """

    progress: Progress
    what: str

    def stage(self, text: str) -> None:
        """Do nothing: the outer work has named its stage already."""

    def count(self, done: float, total: float | None, what: str) -> None:
        """Report `done` of `total` under `self.what`."""
        self.progress.count(done, total, self.what)


@dataclass(frozen=True)
class PrefixedCounts:
    """Passes counts on with words before their name: for one of several alike pieces of work.

    Example:
        >>> PrefixedCounts(SILENT, "vision fp16: ").count(1, 2, "tactics")
    """

    progress: Progress
    prefix: str

    def stage(self, text: str) -> None:
        """Do nothing: the outer work has named its stage already."""

    def count(self, done: float, total: float | None, what: str) -> None:
        """Report `done` of `total` under `self.prefix` and `what`."""
        self.progress.count(done, total, self.prefix + what)
