"""A whole live run on topics of a bag that is played slowly or fast: an IMU, a camera and a few words."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("zenoh")
pytest.importorskip("rosbags")

from tests.live.ros.network import RosNetwork
from tests.live.running import LiveRun

pytestmark = pytest.mark.nightly

HOPS = 24


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_every_hop_is_live_whatever_the_rate_of_the_stamps(robot_folder: Path, tmp_path: Path, rate: float) -> None:
    begins = ("--stamp-s", "1000", "--stamp-rate", str(rate))
    with RosNetwork() as network:
        network.node("/imu/data", "sensor_msgs/msg/Imu", "--rate", str(200 * rate), "--node", "wrist", *begins)
        network.node("/camera/image_raw", "sensor_msgs/msg/Image", "--rate", str(10 * rate), "--node", "eye", *begins)
        network.node("/transcript", "std_msgs/msg/String", "--rate", "1", "--node", "talk")
        topics = {"eye": "/camera/image_raw", "wrist": "/imu/data", "talk": "/transcript"}
        places = [f"{name}=ros:{topic}?router={network.router}" for name, topic in topics.items()]
        words = [word for place in places for word in ("--stream", place)]
        with LiveRun(tmp_path, robot_folder, "robot", *words, "--duration", HOPS / 2) as run:
            assert run.wait(60) == 0, run.log
    predictions, told = run.predictions, [line for line in run.log if "times the rate of time" in line]
    states = [[hop["presence"][name] for hop in predictions] for name in topics]
    assert len(predictions) >= HOPS - 2, run.log
    for state in states:
        assert set(state[8:]) == {"live"}, (states, run.log)
    assert all(hop["age_ms"]["wrist"] < 700 for hop in predictions[8:])
    assert len(told) == (0 if rate == 1.0 else 2), run.log
    assert not any("connecting anew" in line for line in run.log)
