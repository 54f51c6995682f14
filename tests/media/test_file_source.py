"""The files of one source, read hop by hop on one clock, and what cannot be read together."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import InputError, MediaError, UsageError
from taemi_edge.media.file_source import FileSource
from taemi_edge.media.hops import Hop
from tests.media import tone, write_media

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
IMU = SeriesSpec(feature_dim=4, presence=TIMES, channels=2, rate_hz=20.0, chunk_s=0.5)
HEART = SeriesSpec(feature_dim=4, presence=TIMES, channels=1)
STREAMS: dict[str, StreamSpec] = {
    "front": VideoSpec(feature_dim=4, presence=TIMES, size_hw=(8, 8), frames_per_second=5.0),
    "mic": AudioSpec(feature_dim=4, presence=TIMES, sample_rate_hz=8000, chunk_s=0.5),
    "said": TextSpec(feature_dim=4, presence=TIMES, max_tokens=8),
    "imu": IMU,
    "heart": HEART,
}


def imu_file(file: Path, first_s: float = 0.0, seconds: float = 3.0, names: str = "time_s,x,y") -> Path:
    times = first_s + np.arange(round(seconds * 20)) / 20
    file.write_text("\n".join([names, *(f"{t:.3f},{i},1" for i, t in enumerate(times))]))
    return file


def hops_of(*given: object, hop_s: float = 0.5, **options: object) -> list[Hop]:
    with FileSource(*given, **options) as files:  # type: ignore[arg-type]
        return list(files.hops(hop_s))


def test_every_stream_may_have_a_file_of_its_own(tmp_path: Path):
    (tmp_path / "heart.csv").write_text("time_s,bpm\n0.2,60\n1.2,61\n")
    (tmp_path / "said.vtt").write_text("WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nso it is\n")
    places = {
        "front": write_media(tmp_path / "front.mp4", frame_times_s=[i / 25 for i in range(50)]),
        "mic": write_media(tmp_path / "mic.wav", samples=tone(2.5), audio_codec="pcm_s16le"),
        "imu": imu_file(tmp_path / "imu.csv"),
        "heart": tmp_path / "heart.csv",
        "said": tmp_path / "said.vtt",
    }
    with FileSource(None, STREAMS, places) as files:
        hops = list(files.hops(0.5))
        assert (files.name, files.absent, files.notes) == ("front.mp4", {}, [])
        assert [word.text for word in files.words["said"]] == ["so", "it", "is"]
    assert [hop.end_s for hop in hops] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]  # as long as the longest
    assert [bool(hop.pieces["front"]) for hop in hops] == [True] * 4 + [False] * 2
    heard = sum(len(piece.values) for hop in hops for piece in hop.pieces["mic"])
    assert heard == pytest.approx(2.5 * 8000, abs=20)
    assert sum(len(v.rows) for hop in hops for v in hop.pieces.get("imu", [])) == 60
    assert [len(hop.pieces.get("heart", [])) for hop in hops] == [1, 0, 1, 0, 0, 0]


def test_a_series_alone_is_a_source(tmp_path: Path):
    file = imu_file(tmp_path / "imu.csv", seconds=2.2)
    assert [len(hop.pieces["imu"][0].rows) for hop in hops_of(file, {"imu": IMU})] == [11, 10, 10, 10]
    with FileSource(file, {"imu": IMU, "said": STREAMS["said"]}) as files:
        assert (files.name, files.absent) == ("imu.csv", {"said": "no transcript was given"})


def test_the_rows_of_several_streams_come_from_one_file(tmp_path: Path):
    file = tmp_path / "rig.npz"
    np.savez(file, imu=np.ones((40, 2)), imu_rate_hz=20, heart=np.array([60, 61]), heart_times_s=np.array([0.0, 1.0]))
    hops = hops_of(file, {"imu": IMU, "heart": HEART})
    assert [len(hop.pieces.get("heart", [])) for hop in hops] == [1, 1, 0, 0]
    np.savez(file, imu=np.ones((40, 2)), imu_rate_hz=20)
    with FileSource(file, {"imu": IMU, "heart": HEART}) as files:
        assert files.absent == {"heart": "the file has no columns of it"}


def test_rows_without_a_rate_make_hops_up_to_the_last_of_them(tmp_path: Path):
    (tmp_path / "heart.csv").write_text("time_s,bpm\n0,60\n1,61\n")
    assert [hop.end_s for hop in hops_of(tmp_path / "heart.csv", {"heart": HEART})] == [0.5, 1.0]
    (tmp_path / "heart.csv").write_text("time_s,bpm\n0,60\n")
    assert [hop.end_s for hop in hops_of(tmp_path / "heart.csv", {"heart": HEART})] == [0.5]


def test_unix_time_beside_a_video_is_taken_to_begin_with_it(tmp_path: Path):
    video = write_media(tmp_path / "front.mp4", frame_times_s=[i / 25 for i in range(50)])
    streams = {name: STREAMS[name] for name in ("front", "imu", "heart")}
    imu_file(tmp_path / "imu.csv", first_s=1_700_000_000.0)
    (tmp_path / "heart.csv").write_text("timestamp_ns,bpm\n1700000000700000000,60\n")
    with FileSource(video, streams, {n: tmp_path / f"{n}.csv" for n in ("imu", "heart")}) as files:
        assert len(files.notes) == 1
        assert files.notes[0].endswith("they are taken to begin together")
        hops = list(files.hops(0.5))
    assert hops[0].pieces["imu"][0].times_s[:2].tolist() == pytest.approx([0.0, 0.05], abs=1e-6)
    assert hops[1].pieces["heart"][0].times_s.tolist() == pytest.approx([0.7], abs=1e-6)


def test_streams_of_sound_with_different_rates_share_a_file(tmp_path: Path):
    """Each gets the whole sound at its own rate, although resamplers hold back different amounts."""
    file = write_media(tmp_path / "a.wav", samples=tone(2.0, 44_100, 20.0), rate_hz=44_100, audio_codec="pcm_s16le")
    mic = STREAMS["mic"]
    rates = {"high": 48_000, "low": 400, "own": 44_100, "mic": 16_000}
    streams = {name: msgspec.structs.replace(mic, sample_rate_hz=rate) for name, rate in rates.items()}
    hops = hops_of(file, streams)
    assert [hop.end_s for hop in hops] == [0.5, 1.0, 1.5, 2.0]
    for name, rate_hz in rates.items():
        values = [np.concatenate([piece.values for piece in hop.pieces[name]]) for hop in hops]
        assert [len(each) for each in values] == pytest.approx([rate_hz / 2] * 4, abs=2)
        expected = tone(2.0, rate_hz, 20.0)[rate_hz // 4 : rate_hz]
        np.testing.assert_allclose(np.concatenate(values)[rate_hz // 4 : rate_hz], expected, atol=0.02)


@pytest.mark.parametrize(
    ("source", "places", "error", "words"),
    [
        (None, {}, UsageError, "expected a source, or --stream NAME=FILE"),
        (None, {"radar": "imu.csv"}, UsageError, r"streams radar=.*expected one of front \(video\), mic \(audio\)"),
        (None, {"imu": "a.wav"}, UsageError, r"expected a file that ends in .csv, .npz, .parquet, since imu is series"),
        (None, {"front": "imu.csv"}, UsageError, "expected a video or audio file, since front is video"),
        (None, {"said": "imu.csv"}, UsageError, r"expected a file that ends in .vtt, .srt, .txt, .jsonl"),
        (None, {"front": "a.wav"}, MediaError, "a.wav: expected a video stream, found audio alone"),
        (
            None,
            {"front": "a.wav", "mic": "a.wav"},
            MediaError,
            "a.wav: expected, for the stream front, a file with video",
        ),
        (None, {"imu": "none.csv"}, InputError, "none.csv: expected a series, found nothing"),
        ("none.mp4", {}, MediaError, "none.mp4: expected a video or audio file, found nothing"),
        ("a.wav", {"front": "a.wav", "mic": "a.wav"}, UsageError, "a.wav: expected a file that feeds a stream"),
        (None, {"imu": "leap.csv"}, InputError, r"got a leap of 3e\+08 s after 0.5 s \(row 3\): cut the file there"),
        ("a.wav", {"imu": "late.csv"}, InputError, "expected files of one time, got late.csv from 9000 s on"),
    ],
)
def test_files_that_do_not_fit_are_one_sentence(
    tmp_path: Path, source: str | None, places: dict[str, str], error: type[Exception], words: str
):
    imu_file(tmp_path / "imu.csv")
    imu_file(tmp_path / "late.csv", first_s=9000.0)
    (tmp_path / "leap.csv").write_text("time_s,x,y\n0,1,1\n0.5,1,1\n300000000,1,1\n")
    write_media(tmp_path / "a.wav", samples=tone(0.5), audio_codec="pcm_s16le")
    given = {name: tmp_path / place for name, place in places.items()}
    with pytest.raises(error, match=words):
        FileSource(None if source is None else tmp_path / source, STREAMS, given)


def test_a_source_that_the_model_does_not_read_is_refused(tmp_path: Path):
    video = write_media(tmp_path / "front.mp4", frame_times_s=[i / 25 for i in range(50)])
    with pytest.raises(
        UsageError, match=r"front.mp4: expected a file that feeds a stream of the model, .* imu \(series\)"
    ):
        FileSource(video, {"imu": IMU})
    with pytest.raises(UsageError, match=r"imu.csv: expected a file that feeds a stream of the model"):
        FileSource(imu_file(tmp_path / "imu.csv"), {"front": STREAMS["front"]})


@pytest.mark.parametrize("start_s", [0.0, 1.7e9])
def test_words_without_times_are_spread_over_the_recording_whatever_its_clock(tmp_path: Path, start_s: float):
    (tmp_path / "imu.csv").write_text("time_s,x\n" + "".join(f"{start_s + i},1\n" for i in range(10)))
    (tmp_path / "said.txt").write_text("one two")
    streams: dict[str, StreamSpec] = {"imu": HEART, "said": STREAMS["said"]}
    with FileSource(tmp_path / "imu.csv", streams, transcript=tmp_path / "said.txt") as files:
        assert [word.end_s for word in files.words["said"]] == [5.0, 10.0]


def test_rows_too_far_apart_are_noted(tmp_path: Path):
    (tmp_path / "imu.csv").write_text("time_s,x,y\n0,1,2\n50,1,2\n100,1,2\n")
    with FileSource(tmp_path / "imu.csv", {"imu": IMU}) as files:
        [note] = files.notes
        assert "rows of imu lie 50 s apart" in note
        assert "milliseconds" in note
    with FileSource(imu_file(tmp_path / "imu.csv"), {"imu": IMU}) as files:
        assert not files.notes
