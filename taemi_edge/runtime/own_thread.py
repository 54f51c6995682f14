"""Keeps an executor in a thread of its own, for a model that one thread opens and another one uses.

A GPU takes calls only from the thread that opened it (`tensorrt.gpu`). A live run opens its next model in the
background while its loop goes on with the old one, so neither of those two threads can own the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from taemi_edge.bundle.values import Array
from taemi_edge.media.slots import SlotPool
from taemi_edge.runtime.rings import Span, StepCounts
from taemi_edge.runtime.work import Executor, Work, WorkResult


class OwnThreadExecutor:
    """Implements `taemi_edge.runtime.work.Executor`; every call waits for the thread that owns the device.

    It may be closed more than once.

    Args:
        open_it: opens the executor; called in the new thread, and what it raises is raised here.

    Example:
        >>> import threading
        >>> from taemi_edge.bundle.folder import open_bundle
        >>> from taemi_edge.runtime.opening import open_executor
        >>> from taemi_edge.runtime.work import Layout
        >>> opened_in = []
        >>> def open_here():
        ...     opened_in.append(threading.current_thread())
        ...     return open_executor(open_bundle("export/taemi-tiny"), Layout(1, 4.0, 0.5))
        >>> executor = OwnThreadExecutor(open_here)
        >>> opened_in[0] is threading.current_thread(), executor.backend
        (False, 'cpu')
        >>> executor.close()
    """

    def __init__(self, open_it: Callable[[], Executor]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._is_closed = False
        try:
            self._executor = self._thread.submit(open_it).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self.steps: Mapping[str, StepCounts] = self._executor.steps
        self.capacity: Mapping[str, int] = self._executor.capacity

    @property
    def backend(self) -> str:
        return self._executor.backend

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        return self._thread.submit(self._executor.execute, works).result()

    def features(self, source: int, stream: str, rows: Span) -> Array:
        return self._thread.submit(self._executor.features, source, stream, rows).result()

    def slots(self, stream: str) -> SlotPool | None:
        return self._executor.slots(stream)

    def device_memory(self) -> tuple[int, int] | None:
        return self._thread.submit(self._executor.device_memory).result()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._thread.submit(self._executor.close).result()
        finally:
            self._thread.shutdown()
