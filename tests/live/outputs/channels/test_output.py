"""Recordings of whole runs, by the command line: what is in them, and what is left of them however the run ends."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("foxglove", reason="recordings are written with foxglove-sdk")
pytest.importorskip("mcap", reason="recordings are read with mcap")

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.media.rehearsed_losses import parse_drop
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.window import Source
from tests.live.outputs.recordings import Read, hops_again, read
from tests.live.running import LiveRun


def without_latency(prediction: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in prediction.items() if key not in ("latency_ms", "model_id")}


def predicted_again(recording: Read, bundle: Path) -> list[dict[str, Any]]:
    """What a bundle predicts on the inputs of a recording with one source."""
    [said] = json.loads(recording.metadata["sources"])
    hops = hops_again(recording, said["topic"])
    words: dict[str, list[Word]] = {name: [] for name in said["known_words"]}
    for hop in hops:
        for name in words:
            words[name] += hop.pieces.pop(name, [])
    drops = [parse_drop(text) for text in said["drops"]]
    source = Source(said["name"], words, drops, said["absent"], said["patience_s"])
    with Pipeline(open_bundle(bundle), source) as pipeline:
        return [json.loads(pipeline.predict(hop).to_json()) for hop in hops]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_recording_without_loss_gives_the_same_predictions(cli_here, tiny_folder, demo_video, demo_vtt, tmp_path):
    file, out = tmp_path / "run.mcap", tmp_path / "out.jsonl"
    words = ["--transcript", demo_vtt, "--drop", "audio@3-5", "--output", out]
    done = cli_here("run", tiny_folder, demo_video, *words, "--record", file, "--lossless")
    assert done.returncode == 0, done.stderr
    recording, made = read(file), lines(out)
    [said] = json.loads(recording.metadata["sources"])
    assert recording.of(f"/{said['topic']}/prediction") == made
    again = predicted_again(recording, tiny_folder)
    assert [without_latency(one) for one in again] == [without_latency(one) for one in made]
    assert (recording.metadata["live"], recording.metadata["lossless"]) == ("false", "true")


def test_several_files_lie_in_one_recording(cli_here, tiny_folder, demo_video, tmp_path):
    one, two = tmp_path / "one" / "talk.mp4", tmp_path / "two" / "talk.mp4"
    for link in (one, two):
        link.parent.mkdir()
        link.symlink_to(demo_video)
    file, out = tmp_path / "run.mcap", tmp_path / "out.jsonl"
    done = cli_here("run", tiny_folder, one, two, "--output", out, "--record", file)
    assert done.returncode == 0, done.stderr
    recording = read(file)
    levels = [source["topic"] for source in json.loads(recording.metadata["sources"])]
    assert levels == ["talk_mp4", "talk_mp4_2"]
    assert [len(recording.of(f"/{level}/prediction")) for level in levels] == [33, 33]


def test_nothing_is_written_where_a_run_does_not_begin(cli_here, tiny_folder, tmp_path):
    file, layout = tmp_path / "run.mcap", tmp_path / "layout.json"
    done = cli_here("run", tiny_folder, tmp_path / "none.mp4", "--record", file, "--foxglove-layout", layout)
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_recording_with_a_layout_beside_it(cli_here, tiny_folder, demo_video, tmp_path):
    file, layout = tmp_path / "run.mcap", tmp_path / "layout.json"
    words = ["--output", tmp_path / "out.jsonl", "--record", file, "--foxglove-layout", layout]
    assert cli_here("run", tiny_folder, demo_video, *words).returncode == 0
    recording = read(file)
    shown = json.loads(layout.read_text())["configById"]
    topics = {panel["imageMode"]["imageTopic"] for name, panel in shown.items() if name.startswith("Image!")}
    assert topics == {topic for topic, kind in recording.topics.items() if kind == "foxglove.CompressedVideo"}
    assert file.stat().st_size < 2**20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lossless"], "--lossless: expected --record FILE.mcap beside it"),
        (["--record", "clips", "--lossless"], "--lossless: expected --record FILE.mcap beside it"),
        (["--foxglove", "0.0.0.0:8765"], "expected a loopback address"),
        (["--foxglove", "127.0.0.1"], "expected HOST:PORT"),
        (["--live", "--record", "r.mcap", "--set", "mcap.quality=0"], "expected mcap.quality from 1 to 100, got 0"),
        (["--live", "--record", "r.mcap", "--set", "mcap.split_mib=9000"], "from 0 to half of most_mib"),
        (["--live", "--record", "/proc/none/r.mcap"], "cannot be written"),
        (["--record", "/proc/none/r.mcap"], "cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_sentence(
    cli_here, tiny_folder, demo_video, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    done = cli_here("run", tiny_folder, demo_video, *words, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--record", "r.mcap"], ["--live", "--foxglove", "127.0.0.1:0"]])
def test_what_is_not_installed_is_named(cli_here, tiny_folder, demo_video, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "foxglove", None)
    done = cli_here("run", tiny_folder, demo_video, *words, "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert "foxglove-sdk" in done.stderr.splitlines()[-1]
    assert "taemi-edge[foxglove]" in done.stderr.splitlines()[-1]


@pytest.mark.once
def test_series_and_words_are_the_same_again(cli_here, robot_folder, drive, tmp_path):
    file, out = tmp_path / "run.mcap", tmp_path / "out.jsonl"
    streams = [word for name, place in drive.files.items() for word in ("--stream", f"{name}={place}")]
    done = cli_here("run", robot_folder, *streams, "--output", out, "--record", file, "--lossless")
    assert done.returncode == 0, done.stderr
    again = [without_latency(one) for one in predicted_again(read(file), robot_folder)]
    assert again == [without_latency(one) for one in lines(out)]
    assert any(one["presence"]["talk"] == "live" for one in again)


@pytest.mark.once
def test_a_live_run_is_recorded_and_closed_by_a_signal(tiny_folder, lasting_clip, tmp_path):
    file = tmp_path / "run.mcap"
    with LiveRun(tmp_path, tiny_folder, f"cam={lasting_clip}", "--live", "--record", file, "--lossless") as run:
        run.wait_until(lambda: len(run.predictions) >= 5)
        assert run.stop(signal.SIGINT) == 0
    recording = read(file)
    assert recording.of("/cam/prediction") == run.predictions
    again = [without_latency(one) for one in predicted_again(recording, tiny_folder)]
    assert again == [without_latency(one) for one in run.predictions]
    assert len(recording.of("/events")) == len(run.events)
    assert recording.metadata["live"] == "true"


@pytest.mark.once
def test_what_a_killed_run_leaves_can_be_read(tiny_folder, lasting_clip, tmp_path):
    file = tmp_path / "run.mcap"
    file.write_bytes(b"somebody's")
    with LiveRun(tmp_path, tiny_folder, f"cam={lasting_clip}", "--live", "--record", file) as run:
        run.wait_until(lambda: run.predictions and run.predictions[-1]["time_s"] >= 4)
        run.stop(signal.SIGKILL)
    assert file.read_bytes() == b"somebody's"
    left = read(tmp_path / "run-2.mcap", whole=False)
    assert left.of("/cam/prediction") == run.predictions[: len(left.of("/cam/prediction"))]
    assert left.of("/cam/prediction")[-1]["time_s"] >= 1.5
    assert any("is there already: the recording goes to" in line for line in run.log)


def test_a_run_over_a_recording_has_its_times(cli_here, tiny_folder, demo_video, tmp_path):
    first, second, out = tmp_path / "first.mcap", tmp_path / "second.mcap", tmp_path / "out.jsonl"
    assert cli_here("run", tiny_folder, demo_video, "--output", out, "--record", first).returncode == 0
    done = cli_here("run", tiny_folder, first, "--output", out, "--record", second)
    assert done.returncode == 0, done.stderr
    begun = [int(read(file).metadata["session_start_ns"]) for file in (first, second)]
    assert abs(begun[1] - begun[0]) < 100_000_000
