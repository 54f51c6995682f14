"""Signals end a run in good order, and a second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading

from taemi_edge.live.stopping import calling_on_hangup, stopping_on_signals


def test_the_first_signal_stops_and_the_handlers_of_before_are_back():
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    stopping = threading.Event()
    try:
        with stopping_on_signals(stopping):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.wait(10)
            os.kill(os.getpid(), signal.SIGTERM)  # the second one goes where it went before
            assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_no_handler_is_installed():
    handlers: list[object] = []

    def enter() -> None:
        with stopping_on_signals(threading.Event()):
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_a_hangup_calls_and_ends_nothing():
    calls: list[int] = []
    before = signal.getsignal(signal.SIGHUP)
    with calling_on_hangup(lambda: calls.append(1)):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
    assert calls == [1, 1]
    assert signal.getsignal(signal.SIGHUP) is before
