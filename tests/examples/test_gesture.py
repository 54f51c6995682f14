"""A camera and a watch: what is drawn and felt belongs together, and the committed weights tell seven gestures."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="examples are PyTorch models")

from tests.examples.loading import EXAMPLES, load_example

model_file, train = load_example("gesture"), load_example("gesture", "train.py")
data = load_example("gesture", "gesture_data.py")
record = load_example("gesture", "record.py")


def test_the_figures_of_the_committed_weights():
    found = train.accuracies(model_file.trained(), train.tensors(210, seed=5))
    assert found["both"] >= 0.97
    assert found["camera alone"] >= 0.88
    assert 0.75 <= found["IMU alone"] <= 0.95, "a mirrored watch cannot tell left from right"


def test_what_the_watch_feels_is_how_the_hand_moves():
    steps = 400
    time = np.arange(steps) / data.FINE_HZ
    path = np.zeros((steps, 3))
    path[:, 2] = 0.1 * np.sin(2 * np.pi * time)  # towards the camera and back, once a second
    felt = data.feel(path, np.zeros(steps), 1.0, np.random.default_rng(0))
    assert felt.shape == (100, 6)
    expected = -0.1 * (2 * np.pi) ** 2 * np.sin(2 * np.pi * time[::4]) / data.GRAVITY
    assert np.abs(felt[2:-2, 2] - expected[2:-2]).mean() < 0.1
    np.testing.assert_allclose(felt[:, 1].mean(), 1.0, atol=0.15)  # gravity


def test_a_mirrored_watch_feels_left_as_right():
    path = np.zeros((400, 3))
    path[:, 0] = np.linspace(-0.1, 0.1, 400) ** 3 * 100
    one = data.feel(path, np.zeros(400), 1.0, np.random.default_rng(0))
    other = data.feel(-path, np.zeros(400), -1.0, np.random.default_rng(0))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_chunks_are_encoded_as_the_runtime_does_it():
    """Each chunk of half a second with the half before it; the features of the context are dropped."""
    model, imu = model_file.trained(), train.tensors(1, seed=0)[1]
    with torch.no_grad():
        alone = model.encoders["imu"](imu[:, 25:75])[:, 5:]
        assert alone.shape == (1, 5, model_file.IMU_WIDTH)
        whole = model(train.tensors(1, seed=0)[0], imu, torch.tensor([[True, True]]))
        spoilt = imu.clone()
        spoilt[:, :25] += 9  # the first chunk is the context of the second one, and of no later one
        later = model.encoders["imu"](spoilt[:, 50:100])
    torch.testing.assert_close(later, model.encoders["imu"](imu[:, 50:100]))
    assert whole.shape == (1, 7)


def test_a_recording_has_a_video_and_values_of_the_same_length(tmp_path):
    import av

    record.write_recording(tmp_path, ["left", "push"], seed=1)
    rows = np.loadtxt(tmp_path / "imu.csv", delimiter=",", skiprows=1)
    assert rows.shape == (300, 7)
    np.testing.assert_allclose(np.diff(rows[:, 0]), 0.02, atol=1e-9)
    with av.open(str(tmp_path / "hand.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 150
    assert frames[-1].time == pytest.approx(5.96)
    assert (tmp_path / "truth.csv").read_text().splitlines()[1:] == ["0.0,2.0,left", "4.0,6.0,push"]


def test_the_hand_moves_on_between_two_gestures():
    path = record.joined([record.move(name, np.random.default_rng(0)) for name in ("left", "up")])[0]
    assert np.abs(np.diff(path, axis=0)).max() < 0.01  # metres in a two-hundredth of a second


def test_live_values_are_json_lines_at_the_pace_of_the_clock():
    command = [sys.executable, str(EXAMPLES / "gesture" / "record.py"), "--live", "circle"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    times = np.array([line["time_s"] for line in lines])
    np.testing.assert_allclose(times - times[0], np.arange(100) / 50, atol=0.002)
    assert abs(times[-1] - time.time()) < 60  # Unix time, as a live run takes it
    assert {len(line["values"]) for line in lines} == {6}


def test_an_unknown_gesture_is_refused():
    command = [sys.executable, str(EXAMPLES / "gesture" / "record.py"), "wave"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "got 'wave'" in done.stderr
