"""Runs tasks side by side in a few threads that stay open: a lane takes the next task when it is done with its last.

ONNX Runtime lets go of Python's lock while it computes, so encoders in several lanes use several cores.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from taemi_edge.runtime.cores import one_of_each_core

Result = TypeVar("Result")


class Lanes:
    """A small pool of threads; with one lane there is none, and tasks run one after the other.

    A process that was forked off has none of its parent's threads: there tasks run one after the other as well.

    Args:
        count: how many tasks run at the same time.
        pinned: give each lane a core of its own, where the system lets a process choose. The thread that calls `run`
            then only waits: it is not ours to pin.

    Example:
        >>> lanes = Lanes(2)
        >>> lanes.run([lambda: "vision", lambda: "audio"])
        ['vision', 'audio']
        >>> lanes.close()
    """

    def __init__(self, count: int, pinned: bool = False) -> None:
        self.count = count
        pinned = pinned and hasattr(os, "sched_setaffinity")
        self._calls_itself = not pinned
        self._process = os.getpid()
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            cores = deque(one_of_each_core()[:count]) if pinned else deque[int]()
            self._pool = ThreadPoolExecutor(count - 1 if self._calls_itself else count, "lane", _pin_to_next, (cores,))

    def run(self, tasks: Sequence[Callable[[], Result]], costs: Sequence[float] | None = None) -> list[Result]:
        """Run all tasks, and give what they returned in their order.

        Nothing of them runs any more when this returns or raises. After an error no further task is begun.

        Args:
            costs: how long each task will take, in any unit: the longest begin first, so that no lane is left with one
                at the end. By default they begin in their order.

        Raises:
            BaseException: what a task raised; of several, what the first one in their order did.
        """
        if self._pool is None or len(tasks) < 2 or os.getpid() != self._process:
            return [task() for task in tasks]
        order = range(len(tasks)) if costs is None else sorted(range(len(tasks)), key=lambda at: -costs[at])
        waiting, done, errors = deque(order), dict[int, Result](), dict[int, BaseException]()

        def work() -> None:
            while True:
                try:
                    at = waiting.popleft()
                except IndexError:
                    return
                try:
                    done[at] = tasks[at]()
                except BaseException as error:  # noqa: BLE001  the caller raises it, below
                    errors[at] = error
                    waiting.clear()

        others = min(self.count, len(tasks)) - (1 if self._calls_itself else 0)
        futures: list[Future[None]] = []
        try:
            futures += (self._pool.submit(work) for _ in range(others))
            if self._calls_itself:
                work()
            wait(futures)
        finally:  # after Ctrl-C, which may come while it waits: the others still write to what the caller owns
            waiting.clear()
            wait(futures)
        if errors:
            raise errors[min(errors, key=lambda at: (isinstance(errors[at], Exception), at))]  # Ctrl-C before others
        return [done[at] for at in range(len(tasks))]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None and os.getpid() == self._process:
            self._pool.shutdown()
        self._pool = None


def _pin_to_next(cores: deque[int]) -> None:
    """Keep the calling thread on the next of some cores; without any it runs where the system puts it."""
    if cores:
        with suppress(OSError):  # a core that was taken from the process since: a hop needs none in particular
            os.sched_setaffinity(0, {cores.popleft()})  # of the calling thread alone
