"""What the tests and figures of recordings rest on: drives hold what the plain files hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_types_from_idl

from tests.robots.definitions import EXTRA, ros2idl, types
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import START_NS, Form, messages, out_of_order, repeated, with_jump

pytestmark = pytest.mark.once


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_bag_holds_the_pictures_and_rows_of_the_files(drive, tmp_path: Path, storage):
    write_bag(tmp_path / "bag", messages(drive), storage=storage)
    with AnyReader([tmp_path / "bag"]) as bag:
        read = [(of.topic, bag.deserialize(raw, of.msgtype)) for of, _, raw in bag.messages()]
    pictures = [message for topic, message in read if topic == "/camera/image_raw"]
    for message, picture in zip(pictures, drive.pictures(), strict=True):
        np.testing.assert_array_equal(message.data.reshape(picture.shape), picture)
    rows = [message for topic, message in read if topic == "/imu/data"]
    assert len(rows) == len(drive.imu)
    assert rows[7].linear_acceleration.x == drive.imu[7, 3]
    assert rows[1].header.stamp.nanosec == START_NS % 10**9 + 5_000_000


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none", None])
def test_an_mcap_file_holds_what_was_sent(drive, tmp_path: Path, compression):
    sent = list(messages(drive, Form("h264", imu="json", words="plain", sound=True)))
    with write_mcap(tmp_path / "drive.mcap", sent, compression=compression).open("rb") as file:
        read = [(channel.topic, message.data) for _, channel, message in make_reader(file).iter_messages()]
    assert read == [(one.topic, one.data) for one in sent]


@pytest.mark.parametrize("name", [*EXTRA, "sensor_msgs/msg/Imu", "sensor_msgs/msg/JointState"])
def test_both_forms_of_a_definition_say_the_same(name):
    for part in ros2idl(name).decode().split("=" * 80 + "\n")[1:]:
        for one, fields in get_types_from_idl(part.partition("\n")[2]).items():
            assert str(fields[1]) == str(types().fielddefs[one][1])


def test_what_happens_to_messages(drive):
    sent = list(messages(drive, Form("h264", others=False)))
    assert [one.log_ns for one in sent] == sorted(one.log_ns for one in sent)
    long = list(repeated(sent, 3, drive.seconds))
    assert len(long) == 3 * len(sent)
    assert long[-1].stamp_ns - sent[-1].stamp_ns == round(2 * drive.seconds * 1e9)
    shuffled = list(out_of_order(sent))
    assert sorted(one.stamp_ns for one in shuffled) == sorted(one.stamp_ns for one in sent)
    assert shuffled != sent
    jumped = list(with_jump(sent, 1.0, -5.0))
    assert [one.log_ns for one in jumped] == [one.log_ns for one in sent]
    assert sent[-1].stamp_ns - jumped[-1].stamp_ns == 5 * 10**9
