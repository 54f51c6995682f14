"""A real person speaking (obama_speech.mp4, 8.7 s, 320x240): real face, real voice, real recognition."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.network

SPOKEN = (
    "Today, after two years of negotiations, the United States, together with international partners, has achieved some"
)


def test_with_a_transcript_every_stream_is_live(cli, mobile_folder, real_clip, tmp_path: Path):
    (tmp_path / "speech.vtt").write_text(f"WEBVTT\n\n00:00.300 --> 00:08.500\n{SPOKEN}\n")
    done = cli("run", mobile_folder, real_clip, "--transcript", tmp_path / "speech.vtt", "--threads", 2)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 17
    assert all(line["presence"]["vision"] == "live" for line in lines), [line["reason"] for line in lines]
    assert all(line["presence"] == {"vision": "live", "audio": "live", "text": "live"} for line in lines[2:])
    assert all(line["status"] == "ok" for line in lines)


@pytest.mark.skipif(importlib.util.find_spec("faster_whisper") is None, reason="the asr extra is not installed")
def test_with_recognition_the_words_are_the_speakers(cli, mobile_folder, real_clip, tmp_path: Path):
    from taemi_edge.media.files import read_samples
    from taemi_edge.media.recognition import PACKAGED_MODEL, transcribe

    words = transcribe(read_samples(real_clip, 16_000), PACKAGED_MODEL, threads=2)
    heard = re.sub(r"[^a-z ]", "", " ".join(word.text for word in words).lower())
    assert "two years of negotiations the united states together with international partners" in heard
    assert all(word.start_s < word.end_s for word in words)
    assert words[-1].end_s < 9.5
    output = tmp_path / "p.jsonl"
    done = cli("run", mobile_folder, real_clip, "--asr", "--output", output, "--threads", 2)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert sum(line["presence"]["text"] == "live" for line in lines) >= 12


def test_losses_on_the_real_clip(cli, mobile_folder, real_clip):
    done = cli("run", mobile_folder, real_clip, "--drop", "vision@2-6", "--drop", "audio@4-7", "--threads", 2)
    lines = {line["time_s"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines[5.0]["presence"] == {"vision": "missing", "audio": "missing", "text": "missing"}
    assert lines[5.0]["status"] == "no signal"
    assert lines[3.0]["latency_ms"]["vision"] == lines[5.0]["latency_ms"]["audio"] == 0
    assert lines[8.5]["presence"]["vision"] == lines[8.5]["presence"]["audio"] == "live"
