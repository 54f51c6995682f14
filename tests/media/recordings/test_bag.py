"""Bags of ROS 2 and ROS 1 that rosbags wrote."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from taemi_edge.cli.inspection import inspect
from taemi_edge.errors import InputError, MediaError, UsageError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.recordings.opening import is_recording, open_recording
from tests.robots.drives import write_bag, write_ros1_bag
from tests.robots.messages import START_NS, Form, messages


@pytest.mark.parametrize(
    ("storage", "compression"),
    [("sqlite3", "none"), ("sqlite3", "message"), ("sqlite3", "file"), ("mcap", "none")],
)
def test_bags_of_ros_2(drive: Any, tmp_path: Path, storage: Any, compression: Any) -> None:
    folder = write_bag(tmp_path / "bag", messages(drive, Form("jpeg")), storage=storage, compression=compression)
    assert is_recording(folder)
    with open_recording(folder) as recording:
        assert recording.topics["/imu/data"].count == 1200
        assert recording.topics["/imu/data"].type.name == "sensor_msgs/msg/Imu"
        assert recording.topics["/imu/data"].type.schema_encoding == "ros2msg"
        assert recording.topics["/gripper"].problem is None
        found = list(recording.messages(["/imu/data", "/transcript"]))
        assert len(found) == 1200 + len(drive.words)
        assert [message.log_ns for message in found] == sorted(message.log_ns for message in found)
        assert recording.start_ns is not None
        assert abs(recording.start_ns - START_NS) < 10**7
        some = list(recording.messages(["/imu/data"], START_NS + 10**9, START_NS + 2 * 10**9))
        assert len(some) == 200
        assert recording.notes == []


def test_a_bag_of_one_file(drive: Any, tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag", messages(drive, Form("jpeg")), storage="sqlite3")
    file = next(folder.glob("*.db3"))
    with open_recording(file) as recording:
        assert recording.topics["/imu/data"].count == 1200


def test_a_bag_of_several_mcap_files_follows_its_metadata(drive: Any, tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag", messages(drive, Form("jpeg")), storage="mcap")
    file = next(folder.glob("*.mcap"))
    shutil.copyfile(file, folder / "zzz.mcap")  # which the metadata do not name
    with open_recording(folder) as recording:
        assert recording.topics["/imu/data"].count == 1200
    (folder / "metadata.yaml").write_text("{", encoding="utf-8")
    with open_recording(folder) as recording:
        assert recording.topics["/imu/data"].count == 2400
        assert len(list(recording.messages(["/imu/data"]))) == 2400


def test_a_bag_of_ros_1(drive: Any, tmp_path: Path) -> None:
    with open_recording(write_ros1_bag(tmp_path / "drive.bag", messages(drive, Form("jpeg")))) as recording:
        kind = recording.topics["/imu/data"].type
        assert (kind.encoding, kind.schema_encoding) == ("ros1", "ros1msg")
        assert len(list(recording.messages(["/imu/data"]))) == 1200


@pytest.mark.parametrize("kind", ["bag", "db3"])
def test_a_damaged_bag_is_an_error_of_one_sentence(drive: Any, tmp_path: Path, kind: str) -> None:
    if kind == "bag":
        file = write_ros1_bag(tmp_path / "drive.bag", messages(drive, Form("none")))
    else:
        file = next(write_bag(tmp_path / "bag", messages(drive, Form("none")), storage="sqlite3").glob("*.db3"))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"expected a whole ROS bag, and it cannot be read: .* may save it"):
        open_recording(file)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="expected a whole ROS bag"):
        open_recording(file)


def test_pages_that_are_damaged_end_the_reading_with_a_note(drive: Any, tmp_path: Path) -> None:
    file = next(write_bag(tmp_path / "bag", messages(drive, Form("jpeg")), storage="sqlite3").glob("*.db3"))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 200 * 4096] = b"\xff" * (200 * 4096)
    file.write_bytes(data)
    try:
        with open_recording(file) as recording:
            assert len(list(recording.messages(list(recording.topics)))) < 2000
            assert any("cannot be read any further" in note for note in recording.notes)
    except InputError as error:
        assert "expected a whole ROS bag" in str(error)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a recording, found nothing"):
        open_recording(tmp_path / "no.mcap")
    with pytest.raises(InputError, match="expected a whole ROS bag"):
        open_recording(tmp_path)


def test_what_a_recorder_that_was_killed_leaves_is_told_with_what_helps(drive: Any, tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag", messages(drive, Form("none")), storage="sqlite3")
    (folder / "metadata.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"`ros2 bag reindex .*bag`, or one of its files alone, may save it"):
        open_recording(folder)
    (folder / "metadata.yaml").unlink()
    told = r"found a folder with bag.db3 and no metadata.yaml \(name the file itself"
    with pytest.raises(MediaError, match=told):
        MediaFile(folder, 16_000, 5.0)
    with pytest.raises(UsageError, match=told):
        inspect(folder)
