"""The loop of a live run: hops on their grid, and what ends it."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import NoReturn

import msgspec
import numpy as np
import pytest

from taemi_edge.live import load
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox
from taemi_edge.live.capture.readers import SourceGoneError
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.load import LoadControl, LoadEvent, ladder
from taemi_edge.live.loop import LiveLoop
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.source import LiveSource
from taemi_edge.media.hops import Frame, Hop, SoundPiece
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.window import Source
from tests.live.specs import CAMERA

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


def test_captures_that_hang_hold_up_the_end_once_and_not_each(tiny):
    freed, clock = threading.Event(), SessionClock()
    settings = WatchSettings()

    def opens_late(*_: object) -> NoReturn:
        freed.wait(60)
        raise SourceGoneError("it did not answer", 1.0)

    sources = []
    for index in range(8):
        boxes = {"vision": FrameBox(None, keep_s=2.0)}
        spec = CaptureSpec(f"door{index}", parse_address("tcp://127.0.0.1:1"), {"vision": "video"})
        capture = Capture(spec, boxes, clock, settings, opener=opens_late)
        sources.append(LiveSource(f"door{index}", [capture], boxes, settings))
    try:
        with Fleet(tiny, [Source(one.name) for one in sources], threads=1, window_s=4.0, hop_s=HOP_S) as fleet:
            began_s = time.monotonic()
            LiveLoop(fleet, sources, clock, HOP_S, 0.05, None).run(duration_s=0.5)
            assert time.monotonic() - began_s < 20
    finally:
        freed.set()


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


class SlowFleet:
    """Makes predictions of nothing, and takes a while for each where it is slow."""

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(streams={})
        self.windows = [SimpleNamespace(faces={}, words={})]
        self.busy_s = 0.15
        self.shares: list[float] = []

    def prepare(self, _index: int, hop: Hop) -> Hop:
        return hop

    def predict(self, prepared: dict[int, Hop]) -> list[Prediction]:
        time.sleep(self.busy_s)
        self.shares.append(prepared[0].frames_share)
        nothing: dict[str, dict[str, object] | None] = {}
        end_s = prepared[0].end_s
        return [
            Prediction(
                source="rig",
                time_s=end_s,
                window_s=(0.0, end_s),
                outputs=nothing,
                presence={},
                age_ms={},
                latency_ms={},
                reason={},
                status="ok",
            )
        ]


class LoadLog(Times):
    """Keeps what is said of the load, relieves the device after the second change, and ends when all is well again."""

    def __init__(self, fleet: SlowFleet, stop: threading.Event) -> None:
        super().__init__()
        self.events: list[LoadEvent] = []
        self.told: list[float | None] = []
        self._fleet, self._stop = fleet, stop

    def on_hop(self, result: HopResult) -> None:
        super().on_hop(result)
        degraded = result.prediction.degraded
        self.told.append(None if degraded is None else degraded.hop_s)

    def on_load(self, event: LoadEvent) -> None:
        self.events.append(event)
        if len(self.events) == 2:
            self._fleet.busy_s = 0.0
        if not event.degraded:
            self._stop.set()


def test_too_slow_a_device_gets_fewer_frames_then_longer_hops_and_then_all_again(monkeypatch):
    monkeypatch.setattr(load, "CALM_S", 0.3)
    monkeypatch.setattr(load, "_SECONDS_AT_FIRST", 0.2)
    fleet, stop, hop_s = SlowFleet(), threading.Event(), 0.1
    box = RowBox(1, keep_s=1.0, absent_reason="nobody has sent it yet")
    loop = LiveLoop(fleet, [LiveSource("rig", [], {"imu": box}, WatchSettings())], SessionClock(), hop_s, 0.0, stop)  # type: ignore[arg-type]
    loop.load = LoadControl(hop_s, ladder(hop_s, 1.0, [msgspec.structs.replace(CAMERA, frames_per_second=20.0)]))
    log = LoadLog(fleet, stop)
    loop.outputs.append(log)
    loop.run(20.0)
    assert (log.events[0].frames_share, log.events[0].hop_s) == (0.5, hop_s)
    assert (log.events[1].frames_share, log.events[1].hop_s) == (0.25, 2 * hop_s)
    assert log.events[-1] == LoadEvent(
        time_s=log.events[-1].time_s, degraded=False, frames_share=1.0, hop_s=hop_s, reason=None
    )
    assert min(fleet.shares) <= 0.25
    assert fleet.shares[0] == 1.0
    assert log.told[0] is None
    for end_s, told_s in zip(log.ends_s, log.told, strict=True):
        multiple = end_s / (told_s or hop_s)
        assert multiple == pytest.approx(round(multiple)), "longer hops lie on their own grid"
    assert loop.counts.degraded == sum(told is not None for told in log.told)
    assert loop.load.degraded_s > 0.3
    assert box.keep_s == 2 * hop_s + 1.0  # as it was configured
