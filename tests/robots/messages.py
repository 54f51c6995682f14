"""The messages of a drive, in the order in which a recorder logs them, and what can go wrong with their order.

/camera/image_raw             sensor_msgs/Image, 15 a second (or /camera/image_raw/compressed, /camera/video)
/imu/data                     sensor_msgs/Imu, 200 a second (as JSON: /imu/json)
/battery                      sensor_msgs/BatteryState, one a second
/joint_states                 sensor_msgs/JointState, 50 a second (synthetic)
/gripper                      my_robot_msgs/Gripper, 10 a second (synthetic), a type that no library knows
/audio                        audio_common_msgs/AudioData: 20 ms of 16 bit PCM at 16 kHz
/transcript                   std_msgs/String: a word when it has been said
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np

from tests.robots.definitions import cdr, message, types
from tests.robots.material import IMU_RATE_HZ, PICTURE_RATE_HZ, SOUND_RATE_HZ, Material

#: 2026-03-01 12:00:00 UTC.
START_NS = 1_772_366_400_000_000_000
#: Every message is logged so long after its stamp.
LOG_DELAY_NS = 3_000_000

Pictures = Literal["rgb8", "bgr8", "rgba8", "mono8", "jpeg", "png", "h264", "h264-ros", "h264-compressed", "none"]

IMU_JSON = {
    "title": "my_robot.Imu",
    "type": "object",
    "properties": {
        "timestamp": {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}},
        "values": {"type": "array", "items": {"type": "number"}, "minItems": 6, "maxItems": 6},
    },
}


@dataclass(frozen=True)
class Sent:
    """A message as it was sent.

    Attributes:
        topic: where.
        type: the name of its type.
        encoding: "cdr", "json" or "protobuf".
        stamp_ns: in its header, as far as it has one; else when it was measured.
        log_ns: when it is logged.
        data: its bytes.
    """

    topic: str
    type: str
    encoding: str
    stamp_ns: int
    log_ns: int
    data: bytes


@dataclass(frozen=True)
class Form:
    """How a drive is recorded; the drive is the same.

    Attributes:
        pictures: the encoding. "h264" is foxglove.CompressedVideo in protobuf, "h264-ros" the same in CDR, and
            "h264-compressed" a sensor_msgs/CompressedImage whose format is h264.
        imu: as sensor_msgs/Imu, or as JSON with a schema.
        words: "json" has their times in the String as Unix time, "plain" has the words alone.
        sound: whether /audio is recorded.
        others: whether /battery, /joint_states and /gripper are.
    """

    pictures: Pictures = "rgb8"
    imu: Literal["cdr", "json"] = "cdr"
    words: Literal["json", "plain"] = "json"
    sound: bool = False
    others: bool = True


def messages(material: Material, form: Form = Form(), start_ns: int = START_NS) -> Iterator[Sent]:
    """The messages of a drive by their log times."""
    parts = [_imu(material, form), _words(material, form)]
    if form.pictures != "none":
        parts.append(_pictures(material, form.pictures))
    if form.sound:
        parts.append(_sound(material))
    if form.others:
        parts += [_battery(material), _joints(material), _gripper(material)]
    for sent in heapq.merge(*parts, key=lambda sent: sent.log_ns):
        yield moved(sent, start_ns)


def moved(sent: Sent, by_ns: int) -> Sent:
    """The same message, later: its log time and the stamp in it."""
    stamp_ns = sent.stamp_ns + by_ns
    return replace(sent, stamp_ns=stamp_ns, log_ns=sent.log_ns + by_ns, data=restamped(sent, stamp_ns))


def restamped(sent: Sent, stamp_ns: int) -> bytes:
    """The bytes of a message with another stamp; of a type without one, as they are."""
    sec, nanosec = divmod(stamp_ns, 10**9)
    if sent.encoding == "json":
        return json.dumps({**json.loads(sent.data), "timestamp": {"sec": sec, "nsec": nanosec}}).encode()
    if sent.encoding == "protobuf":
        return _video_proto(stamp_ns, _proto_payload(sent.data))
    if sent.type == "std_msgs/msg/String":
        return _later_words(sent.data, stamp_ns - sent.stamp_ns)
    if sent.type == "audio_common_msgs/msg/AudioData":
        return sent.data
    stamp = sec.to_bytes(4, "little", signed=True) + nanosec.to_bytes(4, "little")
    return sent.data[:4] + stamp + sent.data[12:]  # every other type begins with its stamp


def repeated(sent: Iterable[Sent], times: int, period_s: float) -> Iterator[Sent]:
    """The same drive again and again, with rising stamps: an hour from a minute."""
    kept = list(sent)
    for round_ in range(times):
        for one in kept:
            yield moved(one, round(round_ * period_s * 1e9))


def dropped(sent: Iterable[Sent], share: float, topic: str = "", seed: int = 0) -> Iterator[Sent]:
    """Without a share of the messages of a topic (of all where none is named), as a lossy QoS loses them."""
    numbers = random.Random(seed)
    return (one for one in sent if (topic and one.topic != topic) or numbers.random() >= share)


def duplicated(sent: Iterable[Sent], every: int = 10) -> Iterator[Sent]:
    """With every tenth message twice, the second a little later."""
    for at, one in enumerate(sent):
        yield one
        if at % every == 0:
            yield replace(one, log_ns=one.log_ns + 1000)


def out_of_order(sent: Iterable[Sent], within: int = 8, seed: int = 0) -> Iterator[Sent]:
    """Logged in another order than sent: each block of some messages is shuffled, log times still rise."""
    numbers, block = random.Random(seed), list[Sent]()
    for one in (*sent, None):
        if one is not None:
            block.append(one)
        if len(block) == within or one is None:
            log_times, shuffled = [each.log_ns for each in block], numbers.sample(block, len(block))
            yield from (replace(each, log_ns=log_ns) for each, log_ns in zip(shuffled, log_times, strict=True))
            block = []


def at_rate(sent: Iterable[Sent], rate: float) -> Iterator[Sent]:
    """As recorded from a bag that was played at another rate: stamps are the old ones, log times are real."""
    first_ns = None
    for one in sent:
        first_ns = one.log_ns if first_ns is None else first_ns
        yield replace(one, log_ns=first_ns + round((one.log_ns - first_ns) / rate))


def with_jump(sent: Iterable[Sent], after_s: float, by_s: float, of_log: bool = False) -> Iterator[Sent]:
    """From `after_s` on stamps are off by `by_s`, as when somebody sets the clock; log times too where told."""
    first_ns = None
    for one in sent:
        first_ns = one.log_ns if first_ns is None else first_ns
        if one.log_ns - first_ns < after_s * 1e9:
            yield one
            continue
        jumped = moved(one, round(by_s * 1e9))
        yield jumped if of_log else replace(jumped, log_ns=one.log_ns)


def _at(time_s: float, topic: str, type_: str, data: Any, delay_ns: int = LOG_DELAY_NS) -> Sent:
    """A message, its bytes, or what makes it of its stamp."""
    stamp_ns = round(time_s * 1e9)
    made = data(stamp_ns) if callable(data) else data
    return Sent(topic, type_, "cdr", stamp_ns, stamp_ns + delay_ns, made if isinstance(made, bytes) else cdr(made))


def header(stamp_ns: int, frame: str = "base") -> Any:
    """A header with a stamp."""
    sec, nanosec = divmod(stamp_ns, 10**9)
    stamp = message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def image(pixels: Any, encoding: str, stamp_ns: int = 0, fill: int = 0) -> Any:
    """A sensor_msgs/Image of an array (H, W[, channels]), with `fill` bytes at the end of each row."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, fill))) if fill else rows
    return message(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, "camera"),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(pixels.dtype.byteorder == ">"),
        step=padded.shape[1],
        data=padded.reshape(-1),
    )


def imu(row: Any, stamp_ns: int = 0) -> Any:
    """A sensor_msgs/Imu of angular velocity and acceleration, which knows nothing of its orientation."""
    x, y, z, ax, ay, az = map(float, row)
    unknown = np.zeros(9)
    unknown[0] = -1.0
    return message(
        "sensor_msgs/msg/Imu",
        header=header(stamp_ns, "wrist"),
        orientation_covariance=unknown,
        angular_velocity=message("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
        linear_acceleration=message("geometry_msgs/msg/Vector3", x=ax, y=ay, z=az),
    )


def _pictures(material: Material, kind: Pictures) -> Iterator[Sent]:
    if kind.startswith("h264"):
        for at, packet in enumerate(material.packets()):
            yield _video(at / PICTURE_RATE_HZ, kind, packet)
        return
    for at, picture in enumerate(material.pictures()):
        yield _picture(at / PICTURE_RATE_HZ, kind, picture)


def _picture(time_s: float, kind: Pictures, picture: Any) -> Sent:
    if kind in ("jpeg", "png"):
        name = "sensor_msgs/msg/CompressedImage"
        done, coded = cv2.imencode(".jpg" if kind == "jpeg" else ".png", picture[..., ::-1])
        assert done

        def compressed(stamp_ns: int) -> Any:
            return message(name, header=header(stamp_ns, "camera"), format=kind, data=coded.reshape(-1))

        return _at(time_s, "/camera/image_raw/compressed", name, compressed)
    arranged = _arranged(kind, picture)
    return _at(time_s, "/camera/image_raw", "sensor_msgs/msg/Image", lambda stamp_ns: image(arranged, kind, stamp_ns))


def _arranged(kind: Pictures, picture: Any) -> Any:
    """An RGB picture in the order of an encoding."""
    if kind == "bgr8":
        return picture[..., ::-1]
    if kind == "rgba8":
        return np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if kind == "mono8" else picture


def _video(time_s: float, kind: Pictures, packet: bytes) -> Sent:
    data = np.frombuffer(packet, np.uint8)
    if kind == "h264":
        stamp_ns = round(time_s * 1e9)
        coded = _video_proto(stamp_ns, packet)
        return Sent("/camera/video", "foxglove.CompressedVideo", "protobuf", stamp_ns, stamp_ns + LOG_DELAY_NS, coded)
    if kind == "h264-ros":
        name = "foxglove_msgs/msg/CompressedVideo"

        def video(stamp_ns: int) -> Any:
            return message(name, timestamp=header(stamp_ns).stamp, frame_id="camera", data=data, format="h264")

        return _at(time_s, "/camera/video", name, video)
    name = "sensor_msgs/msg/CompressedImage"
    return _at(
        time_s,
        "/camera/h264",
        name,
        lambda stamp_ns: message(name, header=header(stamp_ns, "camera"), format="h264", data=data),
    )


def _video_proto(stamp_ns: int, packet: bytes) -> bytes:
    from foxglove.messages import CompressedVideo, Timestamp

    sec, nsec = divmod(stamp_ns, 10**9)
    stamp = Timestamp(sec=sec, nsec=nsec)
    coded: bytes = CompressedVideo(timestamp=stamp, frame_id="camera", data=packet, format="h264").encode()
    return coded


def _proto_payload(coded: bytes) -> bytes:
    """The bytes of field 3 of a foxglove.CompressedVideo."""
    at = 0
    while at < len(coded):
        tag, at = coded[at], at + 1
        size = shift = 0
        while True:
            byte, at = coded[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag == 0x1A:
            return coded[at : at + size]
        at += size
    raise ValueError("expected a foxglove.CompressedVideo with data")


def _imu(material: Material, form: Form) -> Iterator[Sent]:
    for at, row in enumerate(material.imu):
        time_s = at / IMU_RATE_HZ
        if form.imu == "cdr":
            yield _at(time_s, "/imu/data", "sensor_msgs/msg/Imu", partial(imu, row))
            continue
        stamp_ns = round(time_s * 1e9)
        content = {"timestamp": {"sec": stamp_ns // 10**9, "nsec": stamp_ns % 10**9}, "values": row.tolist()}
        data = json.dumps(content).encode()
        yield Sent("/imu/json", "my_robot.Imu", "json", stamp_ns, stamp_ns + LOG_DELAY_NS, data)


def _words(material: Material, form: Form) -> Iterator[Sent]:
    for start_s, end_s, word in material.words:
        said = json.dumps({"text": word, "start": start_s, "end": end_s}) if form.words == "json" else word
        text = message("std_msgs/msg/String", data=said)
        yield _at(end_s, "/transcript", "std_msgs/msg/String", text, delay_ns=0)


def _later_words(data: bytes, by_ns: int) -> bytes:
    """Words whose times, Unix time in seconds, are later; plain words as they are."""
    said = types().deserialize_cdr(data, "std_msgs/msg/String").data
    if not said.startswith("{"):
        return data
    content = json.loads(said)
    times = {key: round(content[key] + by_ns / 1e9, 3) for key in ("start", "end")}
    return cdr(message("std_msgs/msg/String", data=json.dumps({**content, **times})))


def _sound(material: Material) -> Iterator[Sent]:
    step = SOUND_RATE_HZ // 50
    for at in range(0, len(material.voice) - step + 1, step):
        block = np.frombuffer(material.voice[at : at + step].tobytes(), np.uint8)
        made = message("audio_common_msgs/msg/AudioData", data=block)
        end_s = (at + step) / SOUND_RATE_HZ
        yield _at(end_s, "/audio", "audio_common_msgs/msg/AudioData", made, delay_ns=0)


def _battery(material: Material) -> Iterator[Sent]:
    name = "sensor_msgs/msg/BatteryState"
    for time_s, volts, celsius in material.battery:

        def battery(stamp_ns: int, volts: float = volts, celsius: float = celsius) -> Any:
            return message(
                name, header=header(stamp_ns), voltage=volts, temperature=celsius, percentage=0.9, present=True
            )

        yield _at(time_s, "/battery", name, battery)


def _joints(material: Material) -> Iterator[Sent]:
    name, names = "sensor_msgs/msg/JointState", [f"joint_{at}" for at in range(6)]
    for at in range(int(material.seconds * 50)):
        angles = np.sin(at / 50 * (1 + np.arange(6) / 6))

        def joints(stamp_ns: int, angles: Any = angles) -> Any:
            return message(
                name, header=header(stamp_ns), name=names, position=angles, velocity=angles / 2, effort=angles / 3
            )

        yield _at(at / 50, "/joint_states", name, joints)


def _gripper(material: Material) -> Iterator[Sent]:
    name = "my_robot_msgs/msg/Gripper"
    for at in range(int(material.seconds * 10)):

        def gripper(stamp_ns: int, at: int = at) -> Any:
            return message(
                name,
                header=header(stamp_ns),
                state=1,
                holds=at % 2 == 0,
                force=at / 10,
                fingers=np.array([at / 100, -at / 100]),
                currents=np.array([0.1, 0.2, at / 50], np.float32),
                note="as drawn",
            )

        yield _at(at / 10, "/gripper", name, gripper)


def simulated(
    sent: Iterable[Sent], rate: float = 1.0, log_start_ns: int = START_NS, ticks_hz: int = 50
) -> Iterator[Sent]:
    """As recorded of a simulation: /clock has the time of the stamps, and the log that of a machine, at another rate.

    Give messages whose times begin a little after 0.
    """
    name, first_ns, next_ns = "rosgraph_msgs/msg/Clock", 0, 0
    for one in sent:
        first_ns = first_ns or one.log_ns
        while (next_ns or first_ns) <= one.log_ns:
            next_ns = next_ns or first_ns
            tick = cdr(message(name, clock=header(next_ns).stamp))
            yield Sent("/clock", name, "cdr", next_ns, log_start_ns + round((next_ns - first_ns) / rate), tick)
            next_ns += 10**9 // ticks_hz
        yield replace(one, log_ns=log_start_ns + round((one.log_ns - first_ns) / rate))
