"""Which topics feed which streams: given ones, guessed ones, and sentences where neither is possible."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import InputError, UsageError
from taemi_edge.media.messages.readings import MessageType

pytest.importorskip("rosbags")

from taemi_edge.media.messages.topic_field import TopicField
from taemi_edge.media.recordings.recording import RecordedMessage, Topic
from taemi_edge.media.recordings.topic_map import TopicChoice, choose_topics, read_map, read_map_file

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
EYE = VideoSpec(feature_dim=4, presence=TIMES, size_hw=(8, 8), frames_per_second=5.0)
TALK = TextSpec(feature_dim=4, presence=TIMES, max_tokens=8)
EAR = AudioSpec(feature_dim=4, presence=TIMES, sample_rate_hz=16_000, chunk_s=1.0)


def series(channels: int) -> SeriesSpec:
    return SeriesSpec(feature_dim=4, presence=TIMES, channels=channels)


def topics(**kinds: str) -> dict[str, Topic]:
    """Topics `a__b` as `/a/b`, each with messages of a type that rosbags knows."""
    named = {"/" + name.replace("__", "/"): kind for name, kind in kinds.items()}
    return {name: Topic(name, MessageType(kind), 10) for name, kind in named.items()}


ROBOT = topics(
    camera__image_raw="sensor_msgs/msg/Image",
    imu__data="sensor_msgs/msg/Imu",
    transcript="std_msgs/msg/String",
    battery="sensor_msgs/msg/BatteryState",
    rosout="rcl_interfaces/msg/Log",
)


def chosen(found: TopicChoice) -> dict[str, str]:
    return {name: str(topic) for name, topic in found.fields.items()}


def test_types_that_leave_one_choice() -> None:
    streams: dict[str, StreamSpec] = {"eye": EYE, "wrist": series(6), "talk": TALK, "ear": EAR, "power": series(3)}
    found = choose_topics(ROBOT, streams, {})
    assert chosen(found) == {
        "eye": "/camera/image_raw",
        "wrist": "/imu/data",
        "talk": "/transcript",
        "power": "/battery",
    }
    assert found.guessed == {"eye", "wrist", "talk", "power"}
    assert found.absent == {"ear": "the recording has no topic that fits it"}


def test_what_is_given_is_taken_and_not_guessed_again() -> None:
    streams: dict[str, StreamSpec] = {"wrist": series(3), "talk": TALK}
    found = choose_topics(ROBOT, streams, {"wrist": "/imu/data.linear_acceleration"})
    assert chosen(found) == {"wrist": "/imu/data.linear_acceleration", "talk": "/transcript"}
    assert found.guessed == {"talk"}
    assert chosen(choose_topics(ROBOT, streams, {"wrist": "imu/data.linear_acceleration"}))["wrist"].startswith("/imu")


def test_names_choose_among_types() -> None:
    cameras = topics(left__image="sensor_msgs/msg/Image", right__image="sensor_msgs/msg/CompressedImage")
    both: dict[str, StreamSpec] = {"left": EYE, "right": EYE}
    assert chosen(choose_topics(cameras, both, {})) == {"left": "/left/image", "right": "/right/image"}
    with pytest.raises(UsageError, match=r"expected one topic for the stream eye \(video\), and /left/image, /right"):
        choose_topics(cameras, {"eye": EYE}, {})


@pytest.mark.parametrize("order", [("joints", "wrist"), ("wrist", "joints")])
def test_a_name_chooses_a_topic_whose_type_may_be_anything(order: tuple[str, str]) -> None:
    robot = topics(wrist__imu="sensor_msgs/msg/Imu", joint_states="sensor_msgs/msg/JointState")
    both: dict[str, StreamSpec] = {name: series(6) for name in order}
    assert chosen(choose_topics(robot, {"joints": series(6)}, {})) == {"joints": "/joint_states"}
    assert chosen(choose_topics(robot, both, {})) == {"wrist": "/wrist/imu", "joints": "/joint_states"}
    arm = {"arm" if name == "joints" else name: spec for name, spec in both.items()}
    assert chosen(choose_topics(robot, arm, {})) == {"wrist": "/wrist/imu", "arm": "/joint_states"}  # what is left


def test_names_of_several_words() -> None:
    arms = topics(left_arm__imu="sensor_msgs/msg/Imu", right_arm__imu="sensor_msgs/msg/Imu")
    both: dict[str, StreamSpec] = {"right_arm": series(6), "left_arm": series(6)}
    assert chosen(choose_topics(arms, both, {})) == {"right_arm": "/right_arm/imu", "left_arm": "/left_arm/imu"}


def test_one_topic_is_not_given_to_one_of_two_streams_that_it_fits() -> None:
    one = topics(image="sensor_msgs/msg/Image")
    with pytest.raises(
        UsageError, match=r"for the streams a and b, and /image fits several of them: .* --map a=/image"
    ):
        choose_topics(one, {"a": EYE, "b": EYE}, {})
    assert chosen(choose_topics(one, {"a": EYE, "b": EYE}, {"b": "/image"})) == {"b": "/image"}
    both = choose_topics(one, {"a": EYE, "b": EYE}, {"a": "/image", "b": "/image"})
    assert chosen(both) == {"a": "/image", "b": "/image"}


def test_lists_are_told_by_their_first_message() -> None:
    lists = topics(a="std_msgs/msg/Float32MultiArray", b="std_msgs/msg/Float32MultiArray")

    def first_of(topic: str) -> RecordedMessage:
        count = 3 if topic == "/a" else 4
        floats = b"\0\0\x80\x3f" * count
        empty_layout = bytes(8)
        data = b"\0\1\0\0" + empty_layout + count.to_bytes(4, "little") + floats
        return RecordedMessage(topic, 0, data)

    assert chosen(choose_topics(lists, {"x": series(4)}, {}, first_of)) == {"x": "/b"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"nose": "/imu/data"}, r"--map nose=/imu/data: expected one of eye \(video\), wrist \(series\)"),
        ({"eye": "/camera"}, "--map eye=/camera: expected a topic of the recording, which has /battery, /camera/image"),
        ({"eye": "/imu/data"}, "--map eye=/imu/data: "),
        ({"wrist": "/imu/data.speed"}, "--map wrist=/imu/data.speed: .*has no speed"),
        ({"wrist": "/imu/data.angular_velocity"}, "has 3 numbers and the stream 6 channels"),
        ({"wrist": "/imu/data."}, "expected a topic, or a topic and a field"),
    ],
)
def test_what_cannot_be(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        choose_topics(ROBOT, {"eye": EYE, "wrist": series(6)}, given)
    said = getattr(raised.value, "flagged", str(raised.value))
    assert re.search(sentence, said), said


def test_a_topic_that_cannot_be_read_says_why() -> None:
    odd = {"/pose": Topic("/pose", MessageType("Pose", "flatbuffer", b"x", "flatbuffer"), 3, "it is a flatbuffer")}
    assert choose_topics(odd, {"wrist": series(6)}, {}).fields == {}
    with pytest.raises(UsageError, match="expected a topic that can be read: it is a flatbuffer"):
        choose_topics(odd, {"wrist": series(6)}, {"wrist": "/pose"})


def test_empty_topics_are_not_guessed() -> None:
    quiet = {"/image": Topic("/image", MessageType("sensor_msgs/msg/Image"), 0)}
    assert choose_topics(quiet, {"eye": EYE}, {}).fields == {}
    assert choose_topics(quiet, {"eye": EYE}, {"eye": "/image"}).fields == {"eye": TopicField("/image")}


def test_a_map_of_flags_and_files(tmp_path: Path) -> None:
    file = tmp_path / "robot.toml"
    file.write_text('[streams]\neye = "/camera/image_raw"\nwrist = "/imu/data.x"\n', encoding="utf-8")
    assert read_map_file(file) == {"eye": "/camera/image_raw", "wrist": "/imu/data.x"}
    assert read_map([str(file), "eye=/other"]) == {"eye": "/other", "wrist": "/imu/data.x"}
    with pytest.raises(UsageError, match="expected NAME=TOPIC such as"):
        read_map(["eye"])
    for content in ("", "[streams]\n", "[streams]\neye = 3\n", "streams = 3\n", "["):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(InputError):
            read_map_file(file)
