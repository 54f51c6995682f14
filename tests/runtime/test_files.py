"""Runs over files from a program: summaries, predictions one by one, and what is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import MediaError, UsageError
from taemi_edge.runtime.files import RunOptions, predict_file, predict_files, run_file, run_together
from taemi_edge.runtime.json_lines import JsonLines
from tests.media import tone, write_media


def test_a_summary_has_what_the_lines_have(tiny: Bundle, demo_video: Path, demo_vtt: Path, tmp_path: Path):
    with JsonLines(tmp_path / "lines.jsonl") as lines:
        summary = run_file(tiny, demo_video, RunOptions(transcript=demo_vtt, threads=1), lines)
    written = (tmp_path / "lines.jsonl").read_text().splitlines()
    assert written == [prediction.to_json() for prediction in summary.predictions]
    assert summary.media_s == summary.predictions[-1].time_s
    assert summary.real_time_factor == summary.wall_s / summary.media_s
    assert summary.lost is None


def test_predictions_come_as_they_are_asked_for(tiny: Bundle, demo_video: Path):
    predictions = predict_file(tiny, demo_video, RunOptions(hop_s=1.0, threads=1))
    assert [next(predictions).time_s for _ in range(3)] == [1.0, 2.0, 3.0]
    predictions.close()


def test_a_file_that_fails_leaves_the_others_to_go_on(tiny: Bundle, demo_video: Path, tmp_path: Path):
    short = write_media(tmp_path / "short.wav", samples=tone(0.2), audio_codec="pcm_s16le")
    predictions = predict_files(tiny, [demo_video, short], RunOptions(threads=1))
    seen = []
    with pytest.raises(MediaError, match=r"short.wav: expected at least one hop of 0.5 s, got 0.20 s"):
        seen.extend(predictions)
    assert len(seen) == 33


def test_the_same_file_twice_is_refused(tiny: Bundle, demo_video: Path, tmp_path: Path):
    with JsonLines(tmp_path / "none.jsonl") as lines, pytest.raises(UsageError, match="one of them twice"):
        run_together(tiny, [demo_video, demo_video], RunOptions(), lines)
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deadline_s": 61.0}, "deadline_s: expected from 0 to 60000 ms, got 61000 ms"),
        ({"window_s": 0.0}, "window_s 0: expected seconds above 0"),
        ({"annotate": Path("a.gif")}, "ends in .mp4 or .mkv"),
        ({"transcript": Path("a.vtt"), "asr": True}, "got both"),
    ],
)
def test_options_are_checked_when_they_are_made(options: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        RunOptions(**options)
