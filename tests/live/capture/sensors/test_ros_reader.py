"""Topics of ROS 2 as captures: nodes in other processes that start, die, stand still, and send what cannot be used."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("zenoh")
pytest.importorskip("rosbags")

from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import FrameBox, RowBox
from taemi_edge.live.capture.opening import check_address
from taemi_edge.live.capture.readers import SourceGoneError
from taemi_edge.live.capture.sensors.ros_reader import RosReader
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.config import RosConfig
from taemi_edge.live.outputs.ros import RosOutput
from taemi_edge.live.ros.definitions import hash_of
from taemi_edge.live.ros.names import TopicKind, topic_key
from taemi_edge.live.ros.place import place_of
from taemi_edge.live.ros.session import open_session
from taemi_edge.live.ros.subscription import TopicSubscription
from taemi_edge.live.source_plans import track_of
from taemi_edge.live.words import WordInbox
from tests.live.ros.network import RosNetwork, end, until
from tests.live.specs import CAMERA, SERIES, WORDS

IMU, IMAGE, STRING = "sensor_msgs/msg/Imu", "sensor_msgs/msg/Image", "std_msgs/msg/String"
SETTINGS = WatchSettings(retry_most_s=0.2)

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def network():
    with RosNetwork() as running:
        yield running


class Listening:
    """A capture of one topic for one stream, while the `with` lasts."""

    def __init__(self, network: RosNetwork, place: str, spec) -> None:
        self.clock = SessionClock()
        mark = "&" if "?" in place else "?"
        address = parse_address(f"ros:{place}{mark}router={network.router}", rows=spec is not CAMERA)
        boxes = {CAMERA: FrameBox(None, 60.0), SERIES: RowBox(6, 60.0, None), WORDS: WordInbox(None)}
        self.box = boxes[spec]
        capture = CaptureSpec("robot", address, {"stream": track_of(spec)}, stream=spec)
        self.capture = Capture(capture, {"stream": self.box}, self.clock, SETTINGS)

    def __enter__(self) -> Listening:
        self.capture.start()
        until(lambda: self.capture.link.state == "connected")
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()

    @property
    def loss(self) -> str | None:
        return self.capture.losses(self.clock.now_s()).get("stream")

    def take(self):
        return self.box.take(self.clock.now_s())[0]


def test_rows_come_until_the_node_dies_which_is_noticed_at_once(network):
    with Listening(network, "/imu", SERIES) as imu:
        assert imu.loss == "no node publishes /imu in domain 0"
        node = network.node("/imu", IMU, "--rate", "200")
        until(lambda: imu.loss is None and imu.take())
        imu.take()
        time.sleep(0.5)
        rows = np.concatenate([piece.rows for piece in imu.take()])
        assert rows.shape[1] == 6
        assert (np.diff(rows[:, 2]) == 1).all()  # every message, in order
        np.testing.assert_allclose(rows[:, 5], 9.8, rtol=1e-6)
        end(node)
        noticed_s = until(lambda: imu.loss)
        assert imu.loss == "the node /talker, which published /imu, is gone"
        assert noticed_s < 10  # some milliseconds; see benchmarks/ros_topics.py
        network.node("/imu", IMU, "--node", "second")
        until(lambda: imu.loss is None and imu.take())


def test_pictures(network):
    with Listening(network, "/camera/image_raw", CAMERA) as camera:
        network.node("/camera/image_raw", IMAGE, "--rate", "30")
        frames: list = []
        until(lambda: frames.extend(camera.take()) or len(frames) > 10)
        assert frames[-1].picture.shape == (48, 64, 3)
        assert camera.loss is None


def test_words_and_silence_that_is_no_loss(network):
    with Listening(network, "/words", WORDS) as words:
        network.node("/words", STRING, "--count", "2", "--rate", "5", "--stay", "--text", "hello there")
        said: list = []
        until(lambda: said.extend(words.take()) or len(said) >= 6)
        assert sorted(word.text for word in said) == ["1", "2", "hello", "hello", "there", "there"]
        time.sleep(SETTINGS.lost_after_s + 0.5)
        assert words.loss is None


def test_a_topic_of_another_type(network):
    with Listening(network, "/chatter", SERIES) as chatter:
        network.node("/chatter", STRING)
        until(lambda: (chatter.loss or "").startswith("the node /talker publishes /chatter in a form"))
        assert "std_msgs/msg/String" in chatter.loss
    with Listening(network, "/chatter?type=sensor_msgs/Imu", SERIES) as chatter:
        until(lambda: "expected sensor_msgs/msg/Imu, as ?type= says, got std_msgs/msg/String" in (chatter.loss or ""))


def test_of_two_types_the_one_that_fits_is_read(network):
    network.node("/mixed", STRING, "--node", "speaker")
    network.node("/mixed", IMU, "--node", "imu")
    with Listening(network, "/mixed", SERIES) as mixed:
        until(lambda: mixed.take())
        assert mixed.loss is None


@pytest.mark.nightly
def test_of_two_publishers_one_is_followed_until_it_dies(network):
    first = network.node("/twice", IMU, "--node", "first", "--rate", "100")
    with Listening(network, "/twice", SERIES) as twice:
        until(lambda: twice.take())
        network.node("/twice", IMU, "--node", "second", "--rate", "100")
        time.sleep(0.7)
        rows = np.concatenate([piece.rows for piece in twice.take()])
        assert (np.diff(rows[:, 2]) > 0).all()
        end(first)
        until(lambda: any(piece.rows[0, 2] < rows[-1, 2] for piece in twice.take()))
        assert twice.loss is None


def test_messages_that_cannot_be_read(network, caplog):
    with Listening(network, "/broken", SERIES) as broken:
        network.node("/broken", IMU, "--garbage")
        until(lambda: broken.loss)
        until(lambda: "a message is left out" in caplog.text)
        assert broken.capture.link.state == "connected"


@pytest.mark.nightly
def test_a_node_that_stands_still_is_found_by_the_watchdog(network):
    with Listening(network, "/still", SERIES) as still:
        network.node("/still", IMU, "--count", "20", "--rate", "100", "--stay")
        until(lambda: still.take())
        until(lambda: still.loss)
        assert still.loss == "nothing came for more than 1.25 s"


def test_publishers_without_tokens_and_attachments(network):
    with Listening(network, "/plain", SERIES) as plain:
        node = network.node("/plain", IMU, "--no-tokens", "--no-attachments", "--rate", "100")
        until(lambda: plain.take() and plain.loss is None)
        end(node)
        until(lambda: plain.loss)
        assert plain.loss == "nothing came for more than 1.25 s"


def test_nodes_behind_a_bridge(network):
    with Listening(network, "/arm/imu?via=bridge", SERIES) as imu:
        assert imu.loss == "no node publishes /arm/imu behind a bridge"
        node = network.node("/arm/imu", IMU, "--bridge")
        until(lambda: imu.take() and imu.loss is None)
        end(node)
        until(lambda: (imu.loss or "").startswith("the node behind the bridge "))


@pytest.mark.nightly
def test_a_definition_that_is_not_known(network):
    other = f"RIHS01_{'0' * 64}"
    network.node("/odd", IMU, "--hash", other)
    with Listening(network, "/odd", SERIES) as odd:
        until(lambda: "no release of ROS 2 that is known here has the definition" in (odd.loss or ""))
    with Listening(network, "/odd?type=sensor_msgs/Imu", SERIES) as odd:
        until(lambda: odd.take())


def test_a_type_that_is_not_of_ros_itself(network, tmp_path, caplog):
    network.node("/grip", "gripper_msgs/msg/Grip", "--value", "2.5")
    with Listening(network, "/grip", SERIES) as grip:
        until(lambda: "gripper_msgs/msg/Grip is no type of ROS 2 itself: add its definition" in (grip.loss or ""))
    right, wrong = tmp_path / "Grip.msg", tmp_path / "Wrong.msg"
    right.write_text("float64 angle\nfloat32[5] forces\n")
    wrong.write_text("float64 angle\nint32[5] forces\n")
    with Listening(network, f"/grip?type=gripper_msgs/Grip&definition={right}", SERIES) as grip:
        taken: list = []
        until(lambda: taken.extend(grip.take()) or taken)
        assert taken[0].rows[0].tolist() == [2.5, 0, 1, 2, 3, 4]
    assert "another definition" not in caplog.text
    with Listening(network, f"/grip?type=gripper_msgs/Grip&definition={wrong}", SERIES):
        until(lambda: "is published by another definition" in caplog.text)


def _listening_to_all() -> set[str]:
    """The sockets of this process that any machine can connect to or send to."""
    own = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    lines = [line.split() for kind in ("tcp", "tcp6", "udp", "udp6") for line in _sockets(kind)]
    everywhere = {f"socket:[{words[9]}]" for words in lines if set(words[1].split(":")[0]) == {"0"}}
    return everywhere & own


def _sockets(kind: str) -> list[str]:
    table = Path(f"/proc/self/net/{kind}")
    return table.read_text().splitlines()[1:] if table.exists() else []


def test_a_configuration_of_zenoh_opens_nothing_that_it_does_not_name(network, tmp_path):
    file = tmp_path / "zenoh.json5"
    file.write_text(f'{{mode: "peer", connect: {{endpoints: ["{network.router}"]}}}}')
    network.node("/configured", IMU)
    address, before = parse_address(f"ros:/configured?config={file}", rows=True), _listening_to_all()
    reader = RosReader(address, SETTINGS, SERIES)
    try:
        assert any(item is not None for item in reader.items())
        assert not _listening_to_all() - before
    finally:
        reader.close()
    file.write_text("{mode: 7")
    with pytest.raises(SourceGoneError, match="cannot be used"):
        RosReader(address, SETTINGS, SERIES)


def test_another_domain_is_another_world(network):
    network.node("/domain", IMU, "--domain", "7")
    with Listening(network, "/domain", SERIES) as here, Listening(network, "/domain?domain=7", SERIES) as there:
        until(lambda: there.take())
        assert here.loss == "no node publishes /domain in domain 0"


@pytest.mark.nightly
def test_without_a_router_it_is_tried_again_until_there_is_one():
    network = RosNetwork()
    try:
        listening = Listening(network, "/imu", SERIES)
        listening.capture.start()
        until(lambda: listening.capture.link.state == "waiting")
        assert "no Zenoh router answers at tcp/127.0.0.1" in listening.loss
        network.start_router()
        network.node("/imu", IMU)
        until(lambda: listening.take())
        listening.capture.stop()
    finally:
        network.__exit__()


def test_a_router_that_goes_away_and_comes_back():
    with RosNetwork() as network, Listening(network, "/imu?mode=client", SERIES) as imu:
        network.node("/imu", IMU)
        until(lambda: imu.take())
        network.kill_router()
        until(lambda: (imu.loss or "").startswith("the Zenoh router at tcp/127.0.0.1"))
        network.start_router()
        imu.take()
        until(lambda: imu.loss is None and imu.take())
        assert imu.capture.connections == 1


@pytest.mark.parametrize("place", ["ros:/imu.", "ros:/imu/", "ros:imu", "ros:/a//b"])
def test_names_that_are_no_topics_are_refused(place):
    with pytest.raises(UsageError, match="expected the full name of a topic"):
        check_address(parse_address(place, rows=True), SERIES)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("cut.json5", '{transport: {auth: {usrpwd: {password: "s3cret"}}}', "line 1, column 40 is no JSON5"),
        ("typo.json5", '{transport: {auth: {usrpwd: {pasword: "s3cret"}}}}', "unknown field `pasword`"),
        ("zenoh.conf", "{}", "Unsupported file type"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_before_the_run(tmp_path: Path, name, text, reason):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(UsageError, match=reason) as refused:
        check_address(parse_address(f"ros:/imu?config={file}", rows=True), SERIES)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(UsageError, match=reason):
        RosOutput(RosConfig(publish=f"/gesture?config={file}"))


class Publisher:
    """Publishes bytes as words on a topic, from this process; a context manager."""

    def __init__(self, network: RosNetwork, topic: str) -> None:
        import zenoh

        settings = {"mode": "client", "connect": {"endpoints": [network.router]}}
        self._session = zenoh.open(zenoh.Config.from_json5(json.dumps(settings)))
        self._publisher = self._session.declare_publisher(topic_key(0, topic, TopicKind(STRING, hash_of(STRING))))

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def say(self, text: str) -> None:
        self.put(b"\0\1\0\0" + struct.pack("<I", len(text) + 1) + text.encode() + b"\0")

    def put(self, data: bytes) -> None:
        self._publisher.put(data)


def test_words_that_pause_are_not_lost_because_a_message_before_could_not_be_read(network):
    with Listening(network, "/said", WORDS) as said, Publisher(network, "/said") as publisher:
        until(lambda: publisher.say("good") or said.take())
        publisher.put(b"\0\1\0\0\xff")
        until(lambda: said.capture.damaged_packets == 1)
        time.sleep(SETTINGS.lost_after_s + 0.5)
        assert said.loss is None


def test_of_messages_that_nobody_wants_no_more_go_at_once_than_would_be_taken(network):
    place = place_of("/flood", {"router": network.router})
    session = open_session(place.zenoh)
    topic = TopicSubscription(session, place, 64, history=False)
    try:
        with Publisher(network, "/flood") as publisher:
            until(lambda: publisher.say("now") or topic.take(0.0, 64))
            for number in range(20):
                publisher.say(str(number))
            time.sleep(0.5)
            refused: list[object] = []
            topic.take(0.0, 4, lambda kind: bool(refused.append(kind)))
            assert len(refused) <= 4
            until(lambda: topic.take(0.0, 4, lambda kind: bool(refused.append(kind))) or len(refused) >= 20)
    finally:
        topic.close()
        session.close()
