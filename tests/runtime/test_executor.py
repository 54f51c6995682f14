"""The executor on the processor: several sources in one call, features that are no numbers, a device that is lost."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_model import RepeatedWindow
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS, pattern_name
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import BackendError, UsageError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop, Samples
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.window import Source
from taemi_edge.runtime.work import Layout, SoundChunk, Work, pad_texts


@pytest.fixture(scope="module")
def executor(tiny: Bundle):
    opened = open_executor(tiny, Layout(8, 4.0, 0.5), "cpu", 1)
    yield opened
    opened.close()


def repeated(bundle: Bundle, executor: HostExecutor, pattern, kind="hop") -> RepeatedWindow:
    return RepeatedWindow(executor, bundle.manifest, kind, Feeds(bundle).window(), pattern, sources=8)


@pytest.mark.parametrize("kind", ["hop", "window"])
@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=pattern_name)
def test_every_pattern_gives_what_pytorch_gave(tiny: Bundle, executor, pattern, kind):
    window = Feeds(tiny).window()
    prepared = repeated(tiny, executor, pattern, kind)
    prepared.run()
    expected = np.tile(window.expected[pattern_name(pattern)], (8, 1))
    np.testing.assert_allclose(prepared.output(), expected, atol=window.tolerance, rtol=0)


def test_eight_sources_of_eight_patterns_share_a_call(tiny: Bundle, executor):
    window = Feeds(tiny).window()
    works = [repeated(tiny, executor, pattern, "window").works[i] for i, pattern in enumerate(PRESENCE_PATTERNS)]
    for pattern, done in zip(PRESENCE_PATTERNS, executor.execute(works), strict=True):
        expected = window.expected[pattern_name(pattern)]
        np.testing.assert_allclose(done.intensities, expected, atol=window.tolerance, rtol=0)


def test_a_source_with_a_nan_does_not_touch_the_others(tiny: Bundle, executor):
    prepared = repeated(tiny, executor, PRESENCE_PATTERNS[0])
    good = prepared.output()
    works = list(prepared.works)
    bad = SoundChunk(np.full_like(works[3].sounds[0].samples, np.nan), works[3].sounds[0].rows)
    works[3] = Work(3, sounds=[bad], window=works[3].window)
    done = executor.execute(works)
    assert [bool(d.faults) for d in done] == [i == 3 for i in range(8)]
    assert done[3].faults == {"audio"}
    assert done[3].intensities is None
    np.testing.assert_allclose(done[0].intensities, good[0], atol=1e-6)


def test_sound_that_overflows_is_a_loss_with_its_own_reason(tiny: Bundle, demo_video, demo_vtt):
    """Finite samples whose features are not: the stream is lost, its token bound, and the next good chunk is taken."""
    states = []
    with (
        MediaFile(demo_video, 16_000, 5.0) as media,
        Pipeline(tiny, Source(words=read_transcript(demo_vtt, None)), threads=1) as pipeline,
    ):
        for index, hop in zip(range(10), media.hops(0.5), strict=False):
            if index == 4:
                huge = [Samples(s.time_s, np.full_like(s.values, 3e38)) for s in hop.samples]
                hop = Hop(hop.end_s, hop.frames, huge)
            prediction = pipeline.predict(hop)
            states.append((prediction.presence["audio"], prediction.reason.get("audio")))
            assert np.isfinite(list(prediction.intensities.values())).all()
    assert states[3] == ("live", None)
    assert states[4] == ("missing", "NaN in its features")
    assert states[9] == ("live", None)


def test_a_fleet_gives_what_its_sources_give_alone(tiny: Bundle, demo_video, demo_vtt):
    words = tuple(read_transcript(demo_vtt, None))
    described = [Source("whole", words), Source("deaf", words, (Drop("audio", 1.0, 3.0),)), Source("silent")]
    with MediaFile(demo_video, 16_000, 5.0) as media:
        hops = [hop for _, hop in zip(range(9), media.hops(0.5), strict=False)]
    with Fleet(tiny, described, threads=1) as fleet:
        together = [fleet.predict({i: fleet.prepare(i, hop) for i in range(3)}) for hop in hops]
    for index, source in enumerate(described):
        with Fleet(tiny, [source], threads=1) as alone:
            for both, hop in zip(together, hops, strict=True):
                [one] = alone.predict({0: alone.prepare(0, hop)})
                assert (both[index].source, both[index].presence) == (source.name, one.presence)
                ours, theirs = (list(p.intensities.values()) for p in (both[index], one))
                np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_a_fleet_that_cannot_be_made_closes_its_executor(tiny: Bundle, monkeypatch):
    closed = []
    monkeypatch.setattr(HostExecutor, "close", lambda self: closed.append(self))
    monkeypatch.setattr("taemi_edge.runtime.kinds.video.CropReader", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Fleet(tiny, [Source()])
    assert len(closed) == 1


def test_intensities_that_are_no_numbers_stop_the_run(tiny: Bundle, executor):
    rows = {m: np.arange(2) for m in MODALITIES}
    executor._rings["vision"][0][:2] = np.nan
    with pytest.raises(BackendError, match="fusion gave NaN for features that are numbers"):
        executor.execute([Work(0, window=rows)])
    executor._rings["vision"][0][:2] = 0


def test_a_bundle_built_for_the_cpu_is_refused_on_tensorrt(tiny: Bundle, tiny_folder, tmp_path):
    target = load_recipe("engines", "cpu", TargetRecipe)
    built = build_engine(tiny_folder, target, "fp32", tmp_path / "cpu").bundle
    with pytest.raises(UsageError, match="--device tensorrt: .* holds ONNX graphs"):
        open_executor(built, Layout(1, 4.0, 0.5), "tensorrt")


def test_texts_are_padded_to_the_longest():
    feeds = pad_texts([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert feeds["ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert feeds["mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
