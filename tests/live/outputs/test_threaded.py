"""An output that takes long, in a thread of its own."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput
from taemi_edge.live.outputs.threaded import ThreadedOutput

EVENT = PresenceEvent(source="a", time_s=1.0, stream="audio", before="live", after="missing", reason="silence")


class SlowOutput(BaseOutput):
    """Waits until it may go on, and keeps what it was given."""

    def __init__(self) -> None:
        self.may_go_on, self.closed = threading.Event(), False
        self.events: list[PresenceEvent] = []

    def on_event(self, event: PresenceEvent) -> None:
        self.may_go_on.wait(10)
        self.events.append(event)

    def close(self) -> None:
        self.closed = True


class FailingOutput(BaseOutput):
    """Fails with the first event."""

    def __init__(self) -> None:
        self.calls = 0

    def on_event(self, event: PresenceEvent) -> None:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("the first one fails")


def test_a_slow_output_holds_nobody_up_and_what_it_misses_is_counted():
    slow = SlowOutput()
    threaded = ThreadedOutput(slow, "slow", most=2)
    for _ in range(10):
        threaded.on_event(EVENT)
    assert threaded.left_out >= 7
    slow.may_go_on.set()
    threaded.close()
    assert slow.closed
    assert len(slow.events) == 10 - threaded.left_out


def test_an_output_that_fails_is_given_the_next_event_all_the_same(caplog: Any):
    failing = FailingOutput()
    threaded = ThreadedOutput(failing, "failing")
    threaded.on_event(EVENT)
    threaded.on_event(EVENT)
    threaded.close()
    assert failing.calls == 2
    assert "failing failed" in caplog.text


def test_the_hops_of_many_sources_wait_as_long_as_those_of_one():
    state: Any = SimpleNamespace(loop=SimpleNamespace(outputs=[], sources=["a"] * 40), counters={})
    with ExitStack() as stack:
        slow = SlowOutput()
        OutputContext(stack, LiveConfig((SourceConfig("a", "a.mp4"),)), state, print).add_in_thread(slow, "slow")
        for _ in range(4 * 40):  # four hops, in which each source has an event
            state.loop.outputs[0].on_event(EVENT)
        assert state.counters["slow moments left out"]() == 0
        slow.may_go_on.set()
    assert len(slow.events) == 160
