"""The runtime on a tiny bundle: what is encoded, what is bound, and that streaming changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop, SoundPiece
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.onnx_sessions import OrtSession
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.window import Source
from taemi_edge.taemi.names import EMOTIONS, MODALITIES, PATTERN_NAMES, PRESENCE_PATTERNS, Modality


class CountingSession:
    """A session that remembers its feeds."""

    def __init__(self, inner: OrtSession) -> None:
        self.inner = inner
        self.calls: list[dict[str, np.ndarray]] = []

    def run(self, feeds):
        self.calls.append({name: value.copy() for name, value in feeds.items()})
        return self.inner.run(feeds)

    def close(self) -> None:
        self.inner.close()


def spied(pipeline: Pipeline) -> dict[str, CountingSession]:
    sessions = pipeline.fleet.executor.sessions
    spies = {part: CountingSession(sessions[part]) for part in (*MODALITIES, "fusion")}
    sessions._parts = dict(spies)
    return spies


def demo_hops(bundle: Bundle, video: Path, hop_s: float = 0.5) -> Iterator[Hop]:
    with MediaFile(video, streams=bundle.manifest.streams) as media:
        yield from media.hops(hop_s)


def run_demo_clip(tiny: Bundle, video: Path, vtt: Path, drops: list[Drop], hop_s: float = 0.5) -> list[Prediction]:
    with Pipeline(tiny, Source("demo", read_transcript(vtt, None), drops), threads=1) as pipeline:
        return [pipeline.predict(hop) for hop in demo_hops(tiny, video, hop_s)]


def test_a_prediction_has_the_contract_of_its_json(tiny: Bundle, demo_video: Path, demo_vtt: Path):
    line = msgspec.json.decode(run_demo_clip(tiny, demo_video, demo_vtt, [])[7].to_json())
    assert line["source"] == "demo"
    assert (line["time_s"], line["window_s"]) == (4.0, [0.0, 4.0])
    assert list(line["intensities"]) == list(EMOTIONS)
    assert all(0 <= value <= 1 for value in line["intensities"].values())
    assert line["presence"] == {"vision": "live", "audio": "live", "text": "live"}
    assert 0 <= line["age_ms"]["vision"] <= 200
    assert line["age_ms"]["audio"] == 0
    assert {*MODALITIES, "fusion", "total"} <= set(line["latency_ms"])
    assert line["latency_ms"]["total"] >= line["latency_ms"]["fusion"] > 0
    assert line["status"] == "ok"


@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=PATTERN_NAMES)
def test_a_missing_stream_is_not_encoded_and_its_token_is_bound(
    tiny: Bundle, demo_video: Path, demo_vtt: Path, pattern: frozenset[Modality]
):
    drops = [Drop(m, 0.0, 100.0) for m in MODALITIES if m not in pattern]
    with Pipeline(tiny, Source("", read_transcript(demo_vtt, None), drops), threads=1) as pipeline:
        spies = spied(pipeline)
        predictions = [pipeline.predict(hop) for hop in demo_hops(tiny, demo_video)]
    last = predictions[-1]
    fed = spies["fusion"].calls[-1]
    for m in MODALITIES:
        live = m in pattern
        assert last.presence[m] == ("live" if live else "missing")
        assert bool(spies[m].calls) == live
        assert (last.latency_ms[m] == 0) or live
        if not live:
            np.testing.assert_array_equal(fed[m], tiny.tokens[m][None])
            assert last.age_ms[m] is None
            assert last.reason[m].startswith("dropped by --drop")
        else:
            assert fed[m].shape[1] > 1
    assert last.status == ("ok" if pattern else "no signal")
    assert np.isfinite(list(last.intensities.values())).all()


@pytest.mark.parametrize(
    ("model", "hop_s", "atol"),
    [
        ("tiny", 0.25, 2e-5),
        ("tiny", 0.5, 2e-5),
        ("tiny", 0.7, 2e-5),
        ("tiny", 2.0, 2e-5),
        ("mobile", 0.5, 5e-3),  # Whisper's outputs reach 24
    ],
)
def test_hop_by_hop_gives_the_features_of_one_pass(
    tiny: Bundle, mobile_folder: Path, demo_video: Path, model: str, hop_s: float, atol: float
):
    """The whole file in one hop and one window, against many hops: same times, same features."""
    bundle = tiny if model == "tiny" else open_bundle(mobile_folder)
    with Pipeline(bundle, window_s=60.0, threads=1) as whole, Pipeline(bundle, window_s=60.0, threads=1) as streamed:
        hops = list(demo_hops(bundle, demo_video, hop_s))
        end_s = hops[-1].end_s
        together = Hop(end_s, {m: [p for h in hops for p in h.pieces[m]] for m in ("vision", "audio")})
        whole.encode(together)
        for hop in hops:
            streamed.encode(hop)
        for m in ("vision", "audio"):
            once, piecewise = whole.features(m, end_s), streamed.features(m, end_s)
            assert once.shape == piecewise.shape
            assert len(once) > 70
            np.testing.assert_allclose(piecewise, once, atol=atol, rtol=0)


def test_a_hop_encodes_only_what_is_new(tiny: Bundle, demo_video: Path, demo_vtt: Path):
    with Pipeline(tiny, Source(words=read_transcript(demo_vtt, None)), threads=1) as pipeline:
        spies = spied(pipeline)
        for hop in demo_hops(tiny, demo_video):
            pipeline.predict(hop)
    frames = sum(len(call["pixels"]) for call in spies["vision"].calls)
    chunks = sum(len(call["samples"]) for call in spies["audio"].calls)
    assert frames == pytest.approx(16.8 * 5, abs=2)
    assert chunks == 33
    assert len(spies["text"].calls) < 34


def test_text_without_new_words_costs_nothing(tiny: Bundle):
    with Pipeline(tiny, window_s=10.0, threads=1) as pipeline:
        spies = spied(pipeline)
        for index in range(1, 6):
            assert pipeline.predict(Hop(index * 0.5)).presence["text"] == "missing"
        assert spies["text"].calls == []


def test_a_lost_camera_recovers_after_it_is_steady(tiny: Bundle, demo_video: Path, demo_vtt: Path):
    predictions = run_demo_clip(tiny, demo_video, demo_vtt, [Drop("vision", 2.0, 5.0)])
    states = {p.time_s: p.presence["vision"] for p in predictions}
    assert [states[t] for t in (1.5, 2.0, 3.5, 4.5, 5.5, 6.0)] == [
        "live",
        "missing",
        "missing",
        "missing",
        "recovering",
        "live",
    ]


def test_features_from_before_a_loss_are_used_again_while_the_window_holds_them(tiny: Bundle, demo_video: Path):
    with Pipeline(tiny, Source(drops=[Drop("vision", 2.0, 3.0)]), threads=1) as pipeline:
        for hop in demo_hops(tiny, demo_video):
            pipeline.predict(hop)
            if hop.end_s == 4.5:
                break
        assert len(pipeline.features("vision", 4.5)) == pytest.approx((1.5 + 1.5) * 5, abs=1)


def test_no_face_in_view_makes_vision_missing_with_the_reason(tiny: Bundle, tmp_path: Path):
    from tests.media import tone, write_media

    path = write_media(tmp_path / "wall.mp4", frame_times_s=[i / 25 for i in range(75)], samples=tone(3.0))
    with Pipeline(tiny, threads=1) as pipeline:
        predictions = [pipeline.predict(hop) for hop in demo_hops(tiny, path)]
    assert {p.presence["vision"] for p in predictions} == {"missing"}
    assert {p.reason["vision"] for p in predictions} == {"no face in view"}
    assert predictions[-1].presence["audio"] == "live"


def test_silence_is_data_and_nan_is_a_loss(tiny: Bundle, tmp_path: Path):
    from tests.media import tone, write_float_wav

    silence = write_float_wav(tmp_path / "silence.wav", np.zeros(48_000, np.float32))
    broken = tone(6.0)
    broken[32_000:] = np.nan
    states = []
    for path in (silence, write_float_wav(tmp_path / "nan.wav", broken)):
        with Pipeline(tiny, threads=1) as pipeline:
            predictions = [pipeline.predict(hop) for hop in demo_hops(tiny, path)]
        states.append(predictions[-1])
    assert states[0].presence["audio"] == "live"
    assert (states[1].presence["audio"], states[1].reason["audio"]) == ("missing", "NaN in the sound")
    assert np.isfinite(list(states[1].intensities.values())).all()


def test_sound_that_overflows_is_a_loss_with_its_own_reason(tiny: Bundle, demo_video, demo_vtt):
    """Finite samples whose features are not: the stream is lost, its token bound, and the next good chunk is taken."""
    states = []
    with (
        MediaFile(demo_video, streams=tiny.manifest.streams) as media,
        Pipeline(tiny, Source(words=read_transcript(demo_vtt, None)), threads=1) as pipeline,
    ):
        for index, hop in zip(range(10), media.hops(0.5), strict=False):
            if index == 4:
                huge = [SoundPiece(s.time_s, np.full_like(s.values, 3e38)) for s in hop.sound]
                hop = Hop(hop.end_s, {**hop.pieces, "audio": huge})
            prediction = pipeline.predict(hop)
            states.append((prediction.presence["audio"], prediction.reason.get("audio")))
            assert np.isfinite(list(prediction.intensities.values())).all()
    assert states[3] == ("live", None)
    assert states[4] == ("missing", "NaN in its features")
    assert states[9] == ("live", None)


def test_a_fleet_gives_what_its_sources_give_alone(tiny: Bundle, demo_video, demo_vtt):
    words = tuple(read_transcript(demo_vtt, None))
    described = [Source("whole", words), Source("deaf", words, (Drop("audio", 1.0, 3.0),)), Source("silent")]
    with MediaFile(demo_video, streams=tiny.manifest.streams) as media:
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
