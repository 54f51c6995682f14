"""What a model makes of topics that lose messages, come out of order and twice: predictions of whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

import taemi_edge as te
from tests.robots.drives import write_mcap
from tests.robots.messages import Form, Sent, dropped, duplicated, messages, out_of_order

pytestmark = pytest.mark.once

EYE, IMU = "/camera/image_raw/compressed", "/imu/data"
TOPICS = {"eye": EYE, "wrist": IMU, "talk": "/transcript"}


@pytest.fixture(scope="module")
def run(robot_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the model on a recording of some messages."""
    folder = tmp_path_factory.mktemp("lossy")
    with te.load(robot_folder) as model:

        def predictions(sent: list[Sent]) -> list[te.Prediction]:
            file = write_mcap(folder / "drive.mcap", sent)
            return list(model.run(file, topics=TOPICS))

        yield predictions


@pytest.fixture(scope="module")
def whole(drive: Any) -> list[Sent]:
    return list(messages(drive, Form("jpeg", others=False)))


def farthest(found: list[te.Prediction], wanted: list[te.Prediction]) -> float:
    pairs = zip(found, wanted, strict=True)
    return max(abs(a.outputs["effort"][key] - b.outputs["effort"][key]) for a, b in pairs for key in ("push", "turn"))


@pytest.mark.parametrize(("topic", "lost", "most"), [(IMU, 0.2, 0.01), (IMU, 0.8, 0.03), (EYE, 0.5, 0.03)])
def test_messages_that_are_lost_one_by_one_cost_little(
    run: Any, whole: list[Sent], topic: str, lost: float, most: float
):
    expected, found = run(whole), run(list(dropped(whole, lost, topic)))
    assert [prediction.presence for prediction in found] == [prediction.presence for prediction in expected]
    assert farthest(found, expected) < most


def test_gaps_of_a_fifth_of_each_chunk_leave_a_stream_missing_and_say_why(run: Any, whole: list[Sent]):
    left = [one for one in whole if one.topic != IMU or one.stamp_ns // 10**8 % 5 != 2]
    found = run(left)
    assert {prediction.presence["wrist"] for prediction in found} == {"missing"}
    assert found[-1].reason["wrist"].startswith("gaps: ")
    assert found[-1].presence["eye"] == "live"


def test_disorder_and_duplicates_cost_nothing(run: Any, whole: list[Sent]):
    expected, found = run(whole), run(list(duplicated(out_of_order(whole))))
    assert [prediction.presence for prediction in found] == [prediction.presence for prediction in expected]
    assert farthest(found, expected) < 1e-6
