"""The runtime's GPU half on stand-ins: padding, indices, masks, tokens by address, graphs that keep their addresses."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest, write_manifest
from taemi_edge.bundle.spec import PARTS, EngineRecord, Parts
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import DeviceLostError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.tensorrt.library import this_machine
from taemi_edge.runtime.window import Source
from tests import stand_ins
from tests.executor_checks import *  # noqa: F403  the tests that hold of any GPU

_TARGET = TargetRecipe(name="stand-in", backend="tensorrt")


@pytest.fixture(scope="module")
def device():
    """One GPU for the whole file."""
    patch = pytest.MonkeyPatch()
    profiles = {name: span for part in PARTS for name, span in _TARGET.spans(part).items()}
    profiles |= {"batch": (1, 1, 4)}
    yield stand_ins.install(patch, profiles)
    patch.undo()


@pytest.fixture(scope="module")
def engines(device: stand_ins.Device, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with its graphs in the place of engines."""
    folder = tmp_path_factory.mktemp("engines") / "stand-in"
    folder.mkdir()
    manifest = read_manifest(tiny_folder)
    parts = {}
    for part in PARTS:
        spec = manifest.parts.of(part)
        parts[part] = msgspec.structs.replace(spec, file=f"{part}.engine")
        shutil.copyfile(tiny_folder / spec.file, folder / f"{part}.engine")
    for name in ("tokens.safetensors", "tokenizer.json", "golden.npz"):
        shutil.copyfile(tiny_folder / name, folder / name)
    record = EngineRecord(
        target="stand-in",
        backend="tensorrt",
        library="tensorrt 0.0.0",
        machine=msgspec.to_builtins(this_machine()),
        source=str(tiny_folder),
        asked="fp32",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
    )
    write_manifest(folder, msgspec.structs.replace(manifest, parts=Parts(**parts), verified=True, engine=record))
    return open_bundle(folder)


def hops_of(video: Path, count: int = 12):
    with MediaFile(video, 16_000, 5.0) as media:
        yield from (hop for _, hop in zip(range(count), media.hops(0.5), strict=False))


def test_a_clip_gives_what_the_cpu_gives(engines: Bundle, tiny: Bundle, demo_video: Path, demo_vtt: Path):
    """Twelve hops with a camera that drops out and comes back: presence, ages and intensities."""
    lines = []
    for bundle in (engines, tiny):
        words, drops = read_transcript(demo_vtt, None), [Drop("vision", 2.0, 4.0)]
        with Pipeline(bundle, Source("", words, drops), threads=1) as pipeline:
            lines.append([pipeline.predict(hop) for hop in hops_of(demo_video)])
    assert lines[0][-1].backend == "tensorrt+graph"
    for ours, theirs in zip(*lines, strict=True):
        assert (ours.presence, ours.age_ms, ours.reason) == (theirs.presence, theirs.age_ms, theirs.reason)
        assert_close(list(ours.intensities.values()), list(theirs.intensities.values()), 2e-6)  # noqa: F405
        assert [bool(ours.latency_ms[p]) for p in PARTS] == [bool(theirs.latency_ms[p]) for p in PARTS]


def test_two_sources_give_what_each_gives_alone(engines: Bundle, demo_video: Path, demo_vtt: Path):
    """One has lost its camera, so that both patterns share the call."""
    words = tuple(read_transcript(demo_vtt, None))
    described = [Source("whole", words), Source("blind", words, (Drop("vision", 0.0, 99.0),))]
    with Fleet(engines, described) as fleet:
        together = [
            fleet.predict({index: fleet.prepare(index, hop) for index in range(2)}) for hop in hops_of(demo_video, 8)
        ]
    for index, source in enumerate(described):
        with Fleet(engines, [source]) as alone:
            single = [alone.predict({0: alone.prepare(0, hop)})[0] for hop in hops_of(demo_video, 8)]
        for both, one in zip(together, single, strict=True):
            assert both[index].presence == one.presence
            assert_close(list(both[index].intensities.values()), list(one.intensities.values()), 2e-6)  # noqa: F405


def test_a_lost_device_is_replaced_by_the_cpu(engines: Bundle, device, demo_video: Path, demo_vtt: Path):
    words, before = read_transcript(demo_vtt, None), device.contexts
    backends = []
    with Pipeline(engines, Source(words=words), threads=1) as pipeline:
        for index, hop in enumerate(hops_of(demo_video)):
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
    hops = list(hops_of(demo_video, 8))
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
            assert_close(mine[-5:], theirs[-5:], 1e-6)  # noqa: F405
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
            for hop in hops_of(demo_video):
                device.broken = hop.end_s > 1.0
                pipeline.predict(hop)
    finally:
        device.broken = False
    assert device.contexts == before
