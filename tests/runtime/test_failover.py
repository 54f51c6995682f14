"""A GPU that is lost on the way: the CPU goes on, or the run stops with the reason."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BackendError, DeviceLostError
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.window import Source
from tests.media import first_hops
from tests.runtime.tensorrt.executor_checks import assert_close


def test_a_lost_device_is_replaced_by_the_cpu(engines: Bundle, device, demo_video: Path, demo_vtt: Path):
    words, before = read_transcript(demo_vtt, None), device.contexts
    backends = []
    with Pipeline(engines, Source(words=words), threads=1) as pipeline:
        for index, hop in enumerate(first_hops(demo_video, streams=engines.manifest.streams)):
            device.broken = index == 6
            prediction = pipeline.predict(hop)
            backends.append(prediction.backend)
            assert prediction.status == "ok"
            if index == 6:  # only what this hop brought is left, and the words as a whole
                assert len(pipeline.features("vision", hop.end_s)) in (2, 3)
                assert len(pipeline.features("text", hop.end_s)) > 3
        lost = pipeline.fleet.lost
    assert backends[6:] == ["cpu"] * 6
    assert "cpu" not in backends[:6]
    assert lost is not None
    assert lost.startswith("the GPU was lost while running a window")
    assert device.contexts == before


def test_a_source_that_had_no_hop_when_the_device_was_lost_gets_its_words_back(
    engines: Bundle, tiny: Bundle, device, demo_video: Path, demo_vtt: Path
):
    words = tuple(read_transcript(demo_vtt, None))
    hops = first_hops(demo_video, 8, engines.manifest.streams)
    with Fleet(engines, [Source("a", words), Source("b", words)]) as fleet:
        for hop in hops[:4]:
            fleet.predict({i: fleet.prepare(i, hop) for i in range(2)})
        device.broken = True
        fleet.predict({0: fleet.prepare(0, hops[4])})
        device.broken = False
        assert len(fleet.features(1, "vision", hops[4].end_s)) == 0
        together = [fleet.predict({i: fleet.prepare(i, hop) for i in range(2)}) for hop in hops[4:]][-1]
        for m in ("text", "audio"):
            mine, theirs = (fleet.features(i, m, hops[-1].end_s) for i in range(2))
            assert_close(mine[-5:], theirs[-5:], 1e-6)
    assert together[1].presence == {"vision": "live", "audio": "live", "text": "live"}
    assert together[1].backend == "cpu"


def test_a_lost_device_without_a_cpu_bundle_stops_with_the_reason(engines: Bundle, device, demo_video: Path):
    before = device.contexts
    gone = msgspec.structs.replace(engines.manifest.engine, source="/nowhere")
    bundle = Bundle(engines.folder, msgspec.structs.replace(engines.manifest, engine=gone), engines.tokens)
    try:
        with (
            pytest.raises(DeviceLostError, match=r"the GPU was lost .*; there is no bundle of graphs to go on with"),
            Pipeline(bundle, threads=1) as pipeline,
        ):
            for hop in first_hops(demo_video, streams=engines.manifest.streams):
                device.broken = hop.end_s > 1.0
                pipeline.predict(hop)
    finally:
        device.broken = False
    assert device.contexts == before


def test_graphs_that_do_not_open_leave_a_lost_device(
    engines: Bundle, device, demo_video: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise BackendError("audio.onnx cannot be opened")

    monkeypatch.setattr("taemi_edge.runtime.failover.open_executor", refuse)
    [hop] = first_hops(demo_video, 1, engines.manifest.streams)
    try:
        with (
            pytest.raises(DeviceLostError, match=r"the GPU was lost .*; the CPU cannot take over: audio.onnx cannot"),
            Pipeline(engines, threads=1) as pipeline,
        ):
            device.broken = True
            pipeline.predict(hop)
    finally:
        device.broken = False
