"""The loop of a live run: hops on their grid, and what ends it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import FrameBox, SoundBox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.loop import LiveLoop
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.source import LiveSource
from taemi_edge.media.hops import Frame, Hop, SoundPiece
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.window import Source

HOP_S = 0.5


class Times(BaseOutput):
    """Keeps the end of each hop."""

    def __init__(self) -> None:
        self.ends_s: list[float] = []

    def on_hop(self, result: HopResult) -> None:
        self.ends_s.append(result.prediction.time_s)


def run_for(tiny, duration_s: float | None, stopping: threading.Event | None = None) -> tuple[LiveLoop, Times]:
    """A loop over one source whose camera refuses all connections."""
    clock, settings, times = SessionClock(), WatchSettings(), Times()
    boxes = {"vision": FrameBox(None, keep_s=2.0), "audio": SoundBox(16_000, keep_s=2.0)}
    spec = CaptureSpec("door", parse_address("tcp://127.0.0.1:1"), {"vision": "video", "audio": "audio"})
    source = LiveSource("door", [Capture(spec, boxes, clock, settings)], boxes, settings)
    described = Source("door", absent={"text": "no transcript was given"})
    with Fleet(tiny, [described], threads=1, window_s=4.0, hop_s=HOP_S) as fleet:
        clock = SessionClock()
        loop = LiveLoop(fleet, [source], clock, HOP_S, 0.05, stopping)
        loop.outputs.append(times)
        loop.run(duration_s)
    return loop, times


def test_hops_lie_on_their_grid_and_are_made_without_any_stream(tiny):
    loop, times = run_for(tiny, duration_s=1.6)
    assert times.ends_s == pytest.approx([0.5, 1.0, 1.5])
    assert (loop.counts.made, loop.counts.missed) == (3, 0)
    assert loop.states.of("door")["vision"] == ("missing", "connection refused: nothing listens there")


def test_an_event_that_is_set_ends_it_before_the_next_hop(tiny):
    stopping = threading.Event()
    stopping.set()
    loop, times = run_for(tiny, None, stopping)
    assert loop.counts.made == 0
    assert times.ends_s == []


def test_a_picture_that_cannot_be_read_costs_no_other_stream(tiny):
    sound = SoundPiece(0.0, np.sin(np.arange(16_000) / 20).astype(np.float32))
    hop = Hop(1.0, {"vision": [Frame(0.1, SimpleNamespace(to_ndarray=None))], "audio": [sound]})
    with Fleet(tiny, [Source("door")], threads=1) as fleet:
        loop = LiveLoop(fleet, [SimpleNamespace(name="door")], SessionClock(), HOP_S, 0.05, None)
        [prediction] = fleet.predict({0: loop._prepare(0, hop)})
    assert prediction.presence["audio"] == "live"
    assert prediction.reason["vision"] == "its picture could not be read"
    assert loop.counts.failed_looks == 1
