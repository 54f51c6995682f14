"""Runs over files from a program: summaries, predictions one by one, and what is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import MediaError, UsageError
from taemi_edge.media.content_checks import ContentLimits
from taemi_edge.runtime.files import RunOptions, predict_file, predict_files, run_file, run_together
from taemi_edge.runtime.json_lines import JsonLines
from tests.media import moving_picture, tone, write_media


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


@pytest.mark.parametrize("together", [False, True])
def test_a_silent_stretch_is_lost_in_a_file_as_it_is_live(tiny: Bundle, tmp_path: Path, together: bool):
    spoken = tone(8.0)
    rate_hz = len(spoken) // 8
    spoken[2 * rate_hz : 6 * rate_hz] = 0.0
    muted = write_media(tmp_path / "muted.wav", samples=spoken, audio_codec="pcm_s16le")
    other = write_media(tmp_path / "other.wav", samples=tone(8.0), audio_codec="pcm_s16le")
    options = RunOptions(threads=1)
    found = predict_files(tiny, [muted, other], options) if together else predict_file(tiny, muted, options)
    heard = {p.time_s: (p.presence["audio"], p.reason.get("audio")) for p in found if p.source in ("", "muted.wav")}
    assert heard[2.0] == ("live", None)
    assert heard[3.0] == ("live", None)  # not longer than 1.5 s
    assert heard[4.5] == heard[6.0] == ("missing", "digital silence")
    assert heard[8.0] == ("live", None)
    patient = RunOptions(threads=1, content=ContentLimits(silent_after_s=60.0))
    assert {p.presence["audio"] for p in predict_file(tiny, muted, patient)} == {"live"}


def test_a_still_picture_is_lost_in_a_file_as_it_is_live(tiny: Bundle, tmp_path: Path):
    times_s = [index / 10 for index in range(50)]
    video = write_media(tmp_path / "still.mkv", frame_times_s=times_s, image=moving_picture(0), video_codec="ffv1")
    reasons = {p.time_s: p.reason["vision"] for p in predict_file(tiny, video, RunOptions(threads=1))}
    assert "frozen picture" not in (reasons[0.5], reasons[1.5])
    assert reasons[2.5] == reasons[4.5] == "frozen picture"
