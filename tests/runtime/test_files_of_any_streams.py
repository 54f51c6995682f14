"""Recorded files of streams of every kind, run as a user runs them: each alone, together, and where they do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the model is written in PyTorch")
pytest.importorskip("onnx", reason="the model is exported with onnx")

import taemi_edge as te
from taemi_edge.errors import UsageError
from taemi_edge.media.content_checks import ContentLimits, ContentWatch
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Frame, Hop
from taemi_edge.runtime.files import RunOptions, _FileRun, run_file
from taemi_edge.runtime.json_lines import JsonLines
from tests.cli.checks import lines_of, refused
from tests.media import tone, write_media
from tests.runtime.tensorrt.mixed import HEADS, write_mixed_bundle

STREAMS = ("front", "mic", "imu", "heart")
#: Below half of the model's sample rate: what lies above is silence to it.
HEARD_HZ = 20.0


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two media and two series, untrained, and three seconds of files for it."""
    folder = tmp_path_factory.mktemp("recorded")
    write_mixed_bundle(folder / "model", HEADS["in order"], STREAMS)
    write_media(folder / "front.mp4", frame_times_s=[i / 25 for i in range(75)])
    sound = tone(3.0, frequency_hz=HEARD_HZ)
    write_media(folder / "mic.wav", samples=sound, audio_codec="pcm_s16le")
    write_media(folder / "both.mp4", frame_times_s=[i / 25 for i in range(75)], samples=sound)
    times_s = np.arange(150) / 50
    lines = [f"{t:.2f},{np.sin(t):.3f},{np.cos(t):.3f},1" for t in times_s]
    (folder / "imu.csv").write_text("\n".join(["time_s,x,y,z", *lines]))
    np.savez(folder / "heart.npz", times_s=np.arange(3) + 0.25, values=np.ones((3, 2)))
    np.savez(folder / "rig.npz", imu=np.ones((150, 3)), imu_rate_hz=50, heart=np.ones((3, 2)), heart_rate_hz=1)
    return folder


def test_every_stream_may_have_a_file_of_its_own(recorded: Path, tmp_path: Path):
    names = {"front": "front.mp4", "mic": "mic.wav", "imu": "imu.csv", "heart": "heart.npz"}
    places = {stream: recorded / name for stream, name in names.items()}
    with te.load(recorded / "model", threads=1) as model:
        apart = list(model.run(streams=places))
        series = {name: str(places[name]) for name in ("imu", "heart")}
        beside = list(model.run(recorded / "both.mp4", streams=series))
    assert [prediction.time_s for prediction in apart] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert apart[-1].presence == beside[-1].presence == dict.fromkeys(STREAMS, "live")
    assert (apart[0].source, beside[0].source) == ("front.mp4", "both.mp4")
    with JsonLines(tmp_path / "lines.jsonl") as lines:
        summary = run_file(te.open_bundle(recorded / "model"), None, RunOptions(streams=places, threads=1), lines)
    assert [p.outputs for p in summary.predictions] == [p.outputs for p in apart]


def test_a_file_of_series_is_a_source(recorded: Path):
    with te.load(recorded / "model", threads=1) as model:
        predictions = list(model.run(recorded / "rig.npz"))
        several = list(model.run_many([recorded / "rig.npz", recorded / "both.mp4"]))
    assert predictions[-1].presence == {"front": "missing", "mic": "missing", "imu": "live", "heart": "live"}
    assert predictions[-1].reason["front"] == "no file of it was given"
    assert {prediction.source for prediction in several} == {"rig.npz", "both.mp4"}


def test_a_live_run_takes_places_too(recorded: Path):
    with te.load(recorded / "model", threads=1) as model:
        streams = {"imu": recorded / "imu.csv", "heart": recorded / "heart.npz"}
        predictions = list(model.stream(streams=streams, duration_s=1.0))
        with pytest.raises(UsageError, match="expected one source with imu"):
            model.stream({"a": "a.mp4", "b": "b.mp4"}, streams={"imu": "imu.csv"})
        with pytest.raises(UsageError, match="expected streams as places by name"):
            model.run(streams="imu.csv")
    assert predictions[-1].presence["imu"] == "live"


def test_what_does_not_fit_is_one_sentence(cli_here, recorded: Path, tmp_path: Path):
    run = ("run", recorded / "model")
    refused(cli_here(*run, recorded / "both.mp4", "--stream", f"imu={recorded / 'heart.npz'}"), "as numbers (rows, 3)")
    copied = shutil.copy(recorded / "imu.csv", tmp_path / "imu.csv")
    refused(
        cli_here(*run, "--stream", f"imu={copied}", "--output", copied),
        "expected another file than the ones that are read",
    )
    done = cli_here(*run, recorded / "mic.wav", "--stream", f"imu={copied}", "--threads", 1)
    assert done.returncode == 0
    assert lines_of(done.stdout)[-1]["presence"]["mic"] == "live"


def test_a_face_is_drawn_in_the_picture_that_it_was_found_in_alone():
    picture, drawn = np.zeros((4, 4, 3), np.uint8), []
    whole, seen = Hop(0.5, {"room": [Frame(0.1, picture)], "desk": [Frame(0.1, picture)]}), object()
    near = Hop(1.0, {"room": [], "desk": [Frame(0.6, picture)]})
    video = SimpleNamespace(add=lambda hop, prediction, face: drawn.append(face))
    faces: dict[str, Face] = {"desk": seen}
    files = SimpleNamespace(hops=lambda hop_s: [whole, near], rest=lambda: Hop(1.2))
    pipeline = SimpleNamespace(faces=faces, predict=lambda hop: hop.end_s)
    run = _FileRun(files, pipeline, 0.5, video, ContentWatch(ContentLimits()))
    assert list(run.predictions()) == [0.5, 1.0]
    assert drawn == [None, seen, None]
