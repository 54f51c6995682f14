"""Signals that ask a command to end: what Ctrl-C, `kill` and a closed terminal send."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Ctrl-C, `kill` and systemd, a terminal that is closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(KeyboardInterrupt):
    """A signal asks the command to end; it passes through a program as Ctrl-C does.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest(threading.Event):
    """An event that a signal sets.

    Attributes:
        number: the signal's; that of Ctrl-C where a program set the event itself.
    """

    number: int = signal.SIGINT


@contextmanager
def request_on_signals() -> Iterator[StopRequest]:
    """Let the first signal set an event, so that the running step ends first; a second one stops at once.

    Handlers can be installed in the main thread alone: in any other thread nothing sets the event. Signals that are
    ignored stay ignored, and the handlers that were there before are put back at the end.

    Example:
        >>> with request_on_signals() as stop:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     stop.is_set(), stop.number
        (True, 15)
    """
    stop = StopRequest()

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            raise StoppedError(number)
        stop.number = number
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
