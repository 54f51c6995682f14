"""Digits, doorway and gesture go the way that their READMEs say, and run on recordings of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="examples are PyTorch models")
pytest.importorskip("onnx", reason="graphs are checked with onnx")

import taemi_edge as te
from tests.examples.loading import EXAMPLES, load_example
from tests.examples.whole_way import WholeWay, predictions
from tests.live.running import LiveRun


class TestDigits(WholeWay):
    example, streams, patterns = "digits", ("fac", "fou", "kar", "mor", "pix", "zer"), 64
    at_least = 0.8

    @staticmethod
    def write_corpus(folder: Path) -> None:
        """Thirty of the sixty digits that lie beside the example; the README's script takes 800 from the network."""
        folder.mkdir()
        views, digits = load_example("digits", "digits_data.py").load_few()
        for row, digit in enumerate(digits[::2]):
            sample = {f"{view}/values": values[2 * row] for view, values in views.items()}
            np.savez(folder / f"{row:02}.npz", **sample, **{"label/digit": digit})

    def test_a_digit_is_read_though_views_are_lost(self, built):
        views, digits = load_example("digits", "digits_data.py").load_few()
        kept = ("fac", "pix")
        with te.load(built.bundle.folder, threads=1) as model:
            whole = [model.predict(**{view: views[view][row] for view in self.streams}) for row in range(60)]
            lost = [model.predict(**{view: views[view][row] for view in kept}) for row in range(60)]
        for found, at_least in ((whole, 0.9), (lost, 0.85)):
            best = [[*p.digit["probabilities"]].index(p.digit["best"]) for p in found]
            assert np.mean(np.equal(best, digits)) > at_least
        assert lost[0].presence == {view: "live" if view in kept else "missing" for view in self.streams}


class TestDoorway(WholeWay):
    example, streams, patterns = "doorway", ("camera", "microphone"), 4
    at_least = 0.6

    @staticmethod
    def write_corpus(folder: Path) -> None:
        load_example("doorway", "doorway_data.py").write_corpus(folder, clips=12, seed=4)

    def test_a_doorway_is_seen_and_heard(self, built, cli, tmp_path):
        data = load_example("doorway", "doorway_data.py")
        labels = data.write_clip(tmp_path / "visit.mp4", seed=4).labels
        lines = predictions(cli("run", built.bundle.folder, tmp_path / "visit.mp4", "--drop", "microphone@3-6"))
        assert [line["time_s"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert lines[4]["presence"] == {"camera": "live", "microphone": "missing"}
        assert lines[4]["latency_ms"]["microphone"] == 0
        assert lines[-1]["presence"] == {"camera": "live", "microphone": "live"}
        assert lines[-1]["feeling"]["valence"] == pytest.approx(labels[0], abs=0.35)


class TestGesture(WholeWay):
    example, streams, patterns = "gesture", ("camera", "imu"), 4
    at_least = 0.9

    @staticmethod
    def write_corpus(folder: Path) -> None:
        load_example("gesture", "record.py").write_corpus(folder, clips=14, seed=0)

    def test_gestures_are_told_in_a_recording(self, built, cli, tmp_path):
        names = ["left", "circle", "push"]
        load_example("gesture", "record.py").write_recording(tmp_path, names, seed=0)
        done = cli("run", built.bundle.folder, tmp_path / "hand.mp4", "--stream", f"imu={tmp_path / 'imu.csv'}")
        best = {line["time_s"]: line["gesture"]["best"] for line in predictions(done)}
        assert [best[end_s] for end_s in (2.0, 6.0, 10.0)] == names

    @pytest.mark.once
    def test_a_watch_speaks_to_the_socket_of_a_live_run(self, built, tmp_path):
        place = f"unix:{tmp_path / 'imu.sock'}"
        watch = [sys.executable, EXAMPLES / "gesture" / "record.py", "--socket", tmp_path / "imu.sock", "circle"]
        with LiveRun(tmp_path, built.bundle.folder, "hand", "--stream", f"imu={place}") as run:
            done = subprocess.run([*map(str, watch)], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            run.wait_for("imu", "missing")
            assert run.stop() == 0
        assert not [line for line in run.log if "imu: line" in line]
        assert "circle" in {line["gesture"]["best"] for line in run.predictions if line["presence"]["imu"] == "live"}
