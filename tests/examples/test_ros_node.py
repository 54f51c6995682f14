"""The ROS 2 node of docs/reference/python.md, run as it stands there with stand-ins for rclpy, messages and model."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import taemi_edge as te
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, VideoSpec
from taemi_edge.runtime.kinds import kind_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS = {
    "camera": VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=8.0),
    "imu": SeriesSpec(feature_dim=4, presence=PRESENCE, channels=6, rate_hz=50.0, chunk_s=0.5),
}


class StandInModel:
    """Takes data in as a loaded model does; a hop gives what came of each stream."""

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(window=SimpleNamespace(hop_s=0.5))
        self.intakes = {name: kind_of(spec).open_intake(name, spec, 2.0) for name, spec in STREAMS.items()}
        self.taken: dict[str, Any] = {}

    def push(self, stream: str, data: Any, time_s: float) -> None:
        self.intakes[stream].add(data, time_s)

    def hop(self, end_s: float) -> Any:
        self.taken = {name: intake.take(end_s, lambda time_s: time_s) for name, intake in self.intakes.items()}
        return SimpleNamespace(to_json=lambda: f'{{"time_s": {end_s}}}')


class StandInNode:
    """As much of `rclpy.node.Node` as the page uses."""

    def __init__(self, name: str) -> None:
        self.name, self.timers, self.topics, self.sent = name, [], {}, []

    def create_publisher(self, message: type, topic: str, depth: int) -> Any:
        return SimpleNamespace(publish=self.sent.append)

    def create_subscription(self, message: type, topic: str, callback: Any, quality: object) -> None:
        self.topics[topic] = callback

    def create_timer(self, period_s: float, callback: Any) -> None:
        self.timers.append((period_s, callback))

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=1_700_000_000_500_000_000))


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The names that the page's node defines."""
    parts = {
        "rclpy": {},
        "rclpy.node": {"Node": StandInNode},
        "rclpy.qos": {"qos_profile_sensor_data": object()},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": SimpleNamespace, "Imu": SimpleNamespace},
        "std_msgs": {},
        "std_msgs.msg": {"String": SimpleNamespace},
    }
    for name, contents in parts.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(te, "load", lambda _: StandInModel())
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "rclpy" in b)
    (tmp_path / "node.py").write_text(block, encoding="utf-8")
    return runpy.run_path(str(tmp_path / "node.py"))


def header(time_s: float) -> SimpleNamespace:
    second, part = divmod(time_s, 1)
    return SimpleNamespace(stamp=SimpleNamespace(sec=int(second), nanosec=round(part * 1e9)))


def image(pixels: np.ndarray, encoding: str, time_s: float, fill: int = 3) -> SimpleNamespace:
    """A picture as ROS sends it, with `fill` bytes at the end of each row."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, fill)), constant_values=99)
    return SimpleNamespace(
        header=header(time_s),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=pixels.dtype.byteorder == ">",
        step=padded.shape[1],
        data=padded.tobytes(),
    )


def test_messages_become_a_prediction(page):
    node = page["GestureNode"]()
    (period_s, on_timer) = node.timers[0]
    colour = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    node.topics["camera/image_raw"](image(colour, "rgb8", 1_700_000_000.25))
    gravity, turning = SimpleNamespace(x=0.0, y=0.0, z=9.80665), SimpleNamespace(x=0.1, y=0.2, z=0.3)
    moved = SimpleNamespace(header=header(1_700_000_000.48), linear_acceleration=gravity, angular_velocity=turning)
    node.topics["imu/data_raw"](moved)
    on_timer()
    (frame,), (values,) = node.model.taken["camera"], node.model.taken["imu"]
    np.testing.assert_array_equal(frame.image, colour)
    assert frame.time_s == pytest.approx(1_700_000_000.25)
    np.testing.assert_allclose(values.rows, [[0, 0, 1, 0.1, 0.2, 0.3]], rtol=1e-6)
    assert values.times_s == pytest.approx([1_700_000_000.48])
    assert period_s == 0.5
    assert [sent.data for sent in node.sent] == ['{"time_s": 1700000000.5}']


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("bgr8", np.arange(72, dtype=np.uint8).reshape(4, 6, 3)),
        ("mono8", np.arange(24, dtype=np.uint8).reshape(4, 6, 1)),
        ("16UC1", np.arange(24, dtype="<u2").reshape(4, 6, 1) * 2000),
        ("mono16", (np.arange(24, dtype="<u2").reshape(4, 6, 1) * 2000).astype(">u2")),
    ],
)
def test_pictures_of_each_encoding(page, encoding: str, pixels: np.ndarray):
    picture = page["picture_of"](image(pixels, encoding, 1.0))
    np.testing.assert_array_equal(picture, pixels[..., ::-1] if encoding == "bgr8" else pixels)
    model = StandInModel()
    model.push("camera", picture, 1.0)
    assert model.intakes["camera"].take(1.0, lambda time_s: time_s)[0].image.shape == (4, 6, 3)
