"""A live run on a machine that cannot carry it: what it leaves out, what it says, and what it never changes."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from taemi_edge.live import load
from taemi_edge.live.config import LiveConfig, LoadConfig, SourceConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.opening import OPENERS
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.run import run_live
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Frame, Hop
from taemi_edge.media.inputs import CropReader
from taemi_edge.runtime.pipeline import Pipeline
from tests.live.specs import CAMERA


@dataclass
class SlowDevice:
    """The run's own executor, which takes longer for each picture while `slow` is set."""

    inner: object
    slow: threading.Event
    each_s: float = 0.3

    def execute(self, works):
        if self.slow.is_set():
            time.sleep(0.05 + self.each_s * sum(len(work.items.get("vision", ())) for work in works))
        return self.inner.execute(works)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Overseer(BaseOutput):
    """Makes the device slow, then fast again, and keeps what the run says."""

    def __init__(self) -> None:
        self.slow, self.stop = threading.Event(), threading.Event()
        self.slow.set()
        self.state: LiveState
        self.predictions: list[dict[str, object]] = []
        self.events: list[load.LoadEvent] = []
        self.health: list[dict[str, object]] = []

    def open(self, context: OutputContext) -> None:
        self.state = context.state
        fleet = self.state.loop.fleet
        fleet.executor = SlowDevice(fleet.executor, self.slow)
        context.add(self)

    def on_load(self, event: load.LoadEvent) -> None:
        self.events.append(event)

    def on_hop(self, result: HopResult) -> None:
        self.predictions.append(json.loads(result.prediction.to_json()))
        self.health.append(self.state.health())
        if len(self.events) >= 2 and not self.late:
            self.slow.clear()
        if len(self.events) >= 3 and not self.events[-1].degraded and "degraded" not in self.predictions[-1]:
            self.stop.set()

    @property
    def late(self) -> bool:
        return self.state.loop.counts.last_delay_s > self.state.loop.load.hop_s


@pytest.mark.nightly
def test_frames_are_left_out_first_and_all_of_them_come_back(tiny, demo_video, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "CALM_S", 0.4)
    monkeypatch.setattr(load, "_SECONDS_AT_FIRST", 0.5)
    overseer = Overseer()
    monkeypatch.setattr("taemi_edge.live.outputs.opening.OPENERS", (*OPENERS, overseer.open))
    events = tmp_path / "events.jsonl"
    config = LiveConfig(
        source=(SourceConfig(name="demo", uri=str(demo_video)),),
        loop=True,
        threads=1,
        hop_s=0.25,
        events=str(events),
        duration_s=60.0,
    )
    summary = run_live(tiny, config, stop=overseer.stop)
    assert summary.seconds < 59
    shed = [p["degraded"] for p in overseer.predictions if "degraded" in p]
    assert shed[0]["frames_share"] < 1  # frames first
    assert shed[0]["hop_s"] == 0.25
    assert all(0 < told["frames_share"] <= 1 and told["reason"].startswith("hops of") for told in shed)
    assert "degraded" not in overseer.predictions[0]
    assert "degraded" not in overseer.predictions[-1]
    told = [health for health in overseer.health if any(r.startswith("load:") for r in health["reasons"])]
    assert told
    assert all(health["status"] == "degraded" for health in told)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    loads = [line for line in lines if line["type"] == "load"]
    assert [line["degraded"] for line in loads][:1] == [True]
    assert loads[-1] == {**loads[-1], "degraded": False, "frames_share": 1.0, "hop_s": 0.25, "reason": None}
    assert summary.degraded_s > 0
    assert summary.degraded is not None


@pytest.mark.slow
def test_without_load_nothing_changes_and_without_shedding_no_frame_is_left_out(tiny, demo_video):
    for shed in (True, False):
        seen: list[HopResult] = []

        class Keep(BaseOutput):
            def on_hop(self, result, seen=seen):
                seen.append(result)

        config = LiveConfig(
            source=(SourceConfig(name="demo", uri=str(demo_video)),), threads=1, duration_s=1.5, load=LoadConfig(shed)
        )
        run_live(tiny, config, outputs=[Keep()])
        assert seen
        for result in seen:
            assert result.hop.frames_share == 1.0
            assert result.prediction.degraded is None
            assert "degraded" not in result.prediction.to_json()


def test_a_share_of_one_gives_the_same_bits(tiny, demo_video):
    outputs = []
    for share in (None, 1.0):
        with Pipeline(tiny, threads=1) as pipeline, MediaFile(demo_video, streams=tiny.manifest.streams) as media:
            found = []
            for hop in media.hops(0.5):
                if share is not None:
                    hop.frames_share = share
                found.append(pipeline.predict(hop).outputs)
        outputs.append(found)
    assert outputs[0] == outputs[1]


def frames(count: int, rate: float) -> list[Frame]:
    return [Frame(index / rate, np.full((12, 16, 3), index, np.uint8)) for index in range(count)]


@pytest.mark.parametrize(("share", "kept"), [(1.0, 5), (0.5, 3), (0.4, 2), (0.2, 1), (0.01, 1)])
def test_the_newest_frames_on_the_grid_are_kept(share, kept):
    reader = CropReader(CAMERA)
    crops = list(reader.crops(frames(25, 25.0), share))
    assert len(crops) == kept
    assert crops[-1].time_s == pytest.approx(0.8)
    assert [crop.time_s for crop in crops] == sorted(crop.time_s for crop in crops)


def test_clips_stay_whole_and_fewer_of_them_are_encoded():
    import msgspec

    clips = msgspec.structs.replace(CAMERA, clip_frames=4)
    every = list(CropReader(clips).crops(frames(20, 5.0)))
    half = list(CropReader(clips).crops(frames(20, 5.0), 0.5))
    assert len(half) == (len(every) + 1) // 2
    by_time = {clip.time_s: clip.pixels for clip in every}
    for clip in half:
        np.testing.assert_array_equal(clip.pixels, by_time[clip.time_s])
    assert half[-1].time_s == every[-1].time_s


def test_a_hop_with_a_share_leaves_its_own_frames_alone(tiny):
    hop = Hop(1.0, {"vision": frames(5, 5.0)}, frames_share=0.2)
    with Pipeline(tiny, threads=1) as pipeline:
        pipeline.predict(hop)
    assert len(hop.pieces["vision"]) == 5
