"""Stops a live run on SIGTERM and SIGINT in good order: the last predictions are written before the process ends."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("taemi_edge.live")


@contextmanager
def stopping_on_signals(stopping: threading.Event) -> Iterator[None]:
    """Set `stopping` on the first SIGTERM or SIGINT; a second one does what it did before, and ends the process.

    Handlers can be installed in the main thread alone: in any other thread this does nothing. The handlers that were
    there before are put back at the end.

    Example:
        >>> import os
        >>> stopping = threading.Event()
        >>> with stopping_on_signals(stopping):
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stopping.wait(10)
        True
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(name: str) -> None:
        log.warning("stopping on %s", name)
        stopping.set()

    def handle(number: int, _frame: object) -> None:
        restore()
        # The main thread may hold the event's lock, or the log's, at this very moment: another one can wait for them.
        threading.Thread(target=stop, args=(signal.Signals(number).name,), name="stopping", daemon=True).start()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


@contextmanager
def calling_on_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call a function on each SIGHUP, which a service manager sends on `reload`; it must take no lock.

    Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
