"""Every stream that a live run records is read again, whatever files it shares with others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, TextSpec, VideoSpec
from taemi_edge.corpora.opening import find_corpus
from taemi_edge.corpora.recorded_clips import open_recorded
from taemi_edge.corpora.stream_files import sample_rows, sample_words
from taemi_edge.live.config import RecordConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.outputs.output import HopResult
from taemi_edge.live.outputs.record import Recorder
from taemi_edge.media.hops import Hop, SoundPiece, Values
from taemi_edge.media.transcripts import Word
from tests.live.frames import frame

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
FEATURES = {"feature_dim": 4, "presence": TIMES}
VIDEO = {"size_hw": (8, 8), "crop": "whole", **FEATURES}
AUDIO = {"chunk_s": 0.5, "context_s": 0.0, **FEATURES}
STREAMS = {
    "slow": VideoSpec(frames_per_second=2.0, **VIDEO),
    "fast": VideoSpec(frames_per_second=10.0, **VIDEO),
    "back": VideoSpec(frames_per_second=10.0, **VIDEO),
    "near": AudioSpec(sample_rate_hz=8000, **AUDIO),
    "far": AudioSpec(sample_rate_hz=16_000, **AUDIO),
    "left": TextSpec(max_tokens=16, tokenizer="left.json", **FEATURES),
    "right": TextSpec(max_tokens=16, tokenizer="right.json", **FEATURES),
    "imu": SeriesSpec(channels=2, **FEATURES),
    "never": SeriesSpec(channels=1, **FEATURES),
}


def record(folder: Path, hops: int = 6, **config: float) -> Recorder:
    """Three seconds of every stream but `never`; the camera in front shows two streams, and `imu` begins late."""
    recorder = Recorder(RecordConfig(folder=str(folder), after_s=0.5, **config), STREAMS)
    for number in range(hops):
        start_s = 100 + number / 2
        fast = [frame(start_s + index / 10) for index in range(5)]
        pieces = {
            "slow": fast[:1],
            "fast": fast,
            "back": [frame(start_s + index / 10, 30) for index in range(5)],
            "near": [SoundPiece(start_s, np.full(4000, 0.2, np.float32))],
            "far": [SoundPiece(start_s, np.full(8000, 0.4, np.float32))],
            "left": [Word(start_s, start_s + 0.3, f"left{number}")],
            "right": [Word(start_s, start_s + 0.2, f"right{number}")],
            "imu": [Values(np.array([start_s]), np.array([[number, 1]], np.float32))] if number > 1 else [],
        }
        recorder.on_hop(HopResult(Hop(start_s + 0.5, pieces), SimpleNamespace(source="door")))
        if number == hops - 2:
            lost = {"stream": "back", "before": "live", "after": "missing", "reason": "the wire is cut"}
            recorder.on_event(PresenceEvent(source="door", time_s=start_s + 0.5, **lost))
    recorder.close()
    return recorder


def test_every_stream_is_read_as_it_was_recorded(tmp_path: Path):
    assert record(tmp_path).written == 1
    assert find_corpus(tmp_path) is None
    [clip] = find_corpus(tmp_path, needs_labels=False).clips
    assert (clip.id, clip.split, set(clip.cells)) == ("00001", "train", set(STREAMS) - {"never"})
    assert clip.cells["slow"] == clip.cells["fast"] == clip.cells["near"] == "raw/00001.mkv"
    rows = sample_rows(clip, {n: s for n, s in STREAMS.items() if not isinstance(s, TextSpec)}, {})
    assert {name: len(found) for name, found in rows.items()} == {
        "slow": 6, "fast": 30, "back": 30, "near": 6, "far": 6, "imu": 4, "never": 0,
    }  # fmt: skip
    assert np.mean(rows["back"][0]["pixels"]) < 60 < np.mean(rows["fast"][0]["pixels"])
    assert abs(rows["far"][1]["samples"].mean() - 0.4) < 0.01
    assert [word.text for word in sample_words(clip, "right")] == [f"right{number}" for number in range(6)]
    assert [word.text for word in sample_words(clip, "left", 1.0)] == ["left0", "left1"]


def test_streams_stay_on_the_clock_of_their_clip(tmp_path: Path):
    record(tmp_path)
    [clip] = open_recorded(tmp_path).clips
    assert clip.starts_s["imu"] == 1.0
    imu = {"imu": STREAMS["imu"]}
    assert len(sample_rows(clip, imu, {}, longest_s=2.0)["imu"]) == 3
    assert sample_rows(clip, imu, {}, longest_s=0.9) == {"imu": []}


def test_clips_that_made_room_and_half_lines_are_left_out(tmp_path: Path):
    assert sum(record(tmp_path, most_mib=0.03).removed for _ in range(3)) > 0
    with (tmp_path / "losses.jsonl").open("a") as lines:
        lines.write('{"clip": "00009", "sess')
    clips = open_recorded(tmp_path).clips
    there = {file.name[:5] for file in tmp_path.glob("*/0*")}
    assert {clip.id for clip in clips} == there < {"00001", "00002", "00003"}
    assert len(json.loads((tmp_path / "losses.jsonl").read_text().splitlines()[0])["files"]) == 8
