"""Reads several sources side by side, each in a thread of its own, and groups their next items.

A group waits for all sources up to a deadline. An item that comes later belongs to the next group.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")


class HopGrouper(Generic[Item]):
    """Iterates over groups of items, by the number of their source; a context manager that stops its threads.

    A source that fails ends, and the others go on.

    Attributes:
        errors: what sources raised, by their number.

    Args:
        feeds: one iterator for each source.
        deadline_s: how long the first item of a group waits for the others, in seconds.

    Example:
        >>> with HopGrouper([iter("ab"), iter("x")], deadline_s=5.0) as grouper:
        ...     [dict(sorted(group.items())) for group in grouper]
        [{0: 'a', 1: 'x'}, {0: 'b'}]
    """

    def __init__(self, feeds: Sequence[Iterator[Item]], deadline_s: float) -> None:
        self.errors: dict[int, Exception] = {}
        self._deadline_s = deadline_s
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[float, Item]] = {}
        self._reading = set(range(len(feeds)))
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._read, args=(index, feed), name=f"source-{index}", daemon=True)
            for index, feed in enumerate(feeds)
        ]

    def __iter__(self) -> Iterator[dict[int, Item]]:
        while True:
            with self._changed:
                while (wait_s := self._wait_s()) is None or wait_s > 0:
                    self._changed.wait(wait_s)
                group = {index: item for index, (_, item) in self._waiting.items()}
                self._waiting.clear()
                self._changed.notify_all()
            if not group:
                return
            yield group

    def __enter__(self) -> HopGrouper[Item]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _wait_s(self) -> float | None:
        """How long to wait for the group: 0 where it is complete, None where nothing has come yet."""
        if not self._reading - set(self._waiting):
            return 0.0
        if not self._waiting:
            return None
        first_s = min(came_s for came_s, _ in self._waiting.values())
        return max(0.0, first_s + self._deadline_s - time.perf_counter())

    def _read(self, index: int, feed: Iterator[Item]) -> None:
        """Hand over one item at a time; while one waits the next is made."""
        try:
            for item in feed:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or index not in self._waiting)
                    if self._stopped:
                        return
                    self._waiting[index] = (time.perf_counter(), item)
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001  whatever a source raises is raised by whoever reads `errors`
            self.errors[index] = error
        finally:
            with self._changed:
                self._reading.discard(index)
                self._changed.notify_all()
