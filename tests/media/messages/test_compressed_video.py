"""Videos whose pictures come one by one, and what happens where one is lost or damaged."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from taemi_edge.errors import MessageError
from taemi_edge.media.colours import rgb_pixels
from taemi_edge.media.messages.compressed_video import VideoMessages
from taemi_edge.media.messages.known_definitions import KNOWN
from taemi_edge.media.messages.picture_messages import PictureMessages, Pictures
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.stream_reader import StreamReader
from tests.media import moving_picture
from tests.media.messages import CAMERA, Robot, read_one


def packets(codec: str = "libx264", count: int = 12, **options: str) -> list[bytes]:
    """A message for each picture, a key frame every four, as a camera sends them."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 15), 4
    encoder.options = {"tune": "zerolatency", "bf": "0", "sc_threshold": "0", **options}
    if codec == "libx265":
        encoder.options |= {"x265-params": "log-level=none:repeat-headers=1:keyint=4:bframes=0"}
    made = []
    for at in [*range(count), None]:
        frame = None
        if at is not None:
            frame = av.VideoFrame.from_ndarray(moving_picture(at), format="rgb24").reformat(format="yuv420p")
            frame.pts = at
        made += [bytes(packet) for packet in encoder.encode(frame)]
    return made


def shown(picture: object, at: int) -> bool:
    return bool(np.abs(rgb_pixels(picture).astype(int) - moving_picture(at)).mean() < 12)


@pytest.mark.parametrize(("codec", "form"), [("libx264", "h264"), ("libx265", "h265"), ("libx264", " H264 ")])
def test_each_message_gives_its_picture_at_once(codec: str, form: str) -> None:
    video = VideoMessages(form)
    for at, packet in enumerate(packets(codec)):
        ((stamp, picture),) = video.decode(packet, at * 1000)
        assert stamp == at * 1000
        assert shown(picture, at)
    assert video.finish() == []


def test_pictures_that_need_later_ones_come_in_their_order() -> None:
    video = VideoMessages("h264")
    found = []
    for packet in packets(tune="film", bf="2"):
        found += video.decode(packet, len(found))
    found += video.finish()
    assert len(found) == 12
    assert all(shown(picture, at) for at, (_, picture) in enumerate(found))


def test_what_comes_before_a_whole_picture_is_left_out_and_said_once() -> None:
    notes: list[str] = []
    names = ("format", "data")
    messages = PictureMessages(Pictures((("format",), ("data",)), names, "a video"), notes)
    counts = [len(messages.readings(["h264", packet], None)) for packet in packets()[1:]]
    assert counts == [0, 0, 0] + [1] * 8
    assert notes == ["the video does not begin with a whole picture: what comes before it is left out"]


@pytest.mark.parametrize(("codec", "form", "kinds"), [("libx264", "h264", {7, 8}), ("libx265", "h265", {32, 33, 34})])
@pytest.mark.parametrize("later", [False, True])
def test_what_describes_the_stream_may_come_in_a_message_of_its_own(
    codec: str, form: str, kinds: set[int], later: bool
) -> None:
    first, *rest = packets(codec)
    units = [b"\0\0\0\1" + unit for unit in first.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]]
    of_stream = [unit for unit in units if (unit[4] & 31 if codec == "libx264" else unit[4] >> 1) in kinds]
    picture = b"".join(unit for unit in units if unit not in of_stream)
    video = VideoMessages(form)
    messages = [*of_stream, picture, *(of_stream if later else ()), *rest]
    found = [pair for message in messages for pair in video.decode(message, None)]
    assert video.left_out == 0
    assert len(found) == 12
    assert all(shown(picture, at) for at, (_, picture) in enumerate(found))


def test_a_damaged_message_costs_pictures_up_to_the_next_whole_one() -> None:
    video, refused, found = VideoMessages("h264"), 0, []
    for at, packet in enumerate(packets()):
        content = np.random.default_rng(0).bytes(400) if at == 5 else packet
        try:
            found += [(at, picture) for _, picture in video.decode(content, at)]
        except MessageError as error:
            assert "expected" in str(error)
            refused += 1
    assert refused >= 1
    assert all(shown(picture, at) for at, picture in found if at < 5 or at >= 8)
    assert {at for at, _ in found} >= {0, 1, 2, 3, 4, 8, 9, 10, 11}


def test_a_stream_that_changes_its_size_goes_on() -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 15)
    encoder.options = {"tune": "zerolatency"}
    frame = av.VideoFrame(64, 48, "yuv420p")
    small = [bytes(packet) for packet in encoder.encode(frame)]
    video = VideoMessages("h264")
    sizes = [
        (picture.width, picture.height) for packet in packets()[:2] + small for _, picture in video.decode(packet, 0)
    ]
    assert sizes == [(160, 120), (160, 120), (64, 48)]


@pytest.mark.parametrize("form", ["vp9", "av1", "", "h266"])
def test_another_codec_is_refused_by_name(form: str) -> None:
    with pytest.raises(MessageError, match=f"h264 or h265, got '{form}'"):
        VideoMessages(form)


def test_a_video_of_ffmpeg_image_transport() -> None:
    pytest.importorskip("rosbags")
    robot, name = Robot(), "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    robot.register(name, KNOWN[name])
    reader = StreamReader(CAMERA, MessageType(name))
    for at, packet in enumerate(packets(count=3)):
        data = robot.write(
            name,
            header=robot.header(at * 10**9 + 1),
            width=160,
            height=120,
            encoding="h264;yuv420p;bgr8;bgr8",
            pts=at,
            data=np.frombuffer(packet, np.uint8),
        )
        reading = read_one(reader, data)
        assert reading.stamp_ns == at * 10**9 + 1
        assert shown(reading.picture, at)


def test_a_picture_beyond_all_reason_is_refused() -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8192, 4608, "yuv420p", Fraction(1, 15)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    (packet,) = encoder.encode(av.VideoFrame(8192, 4608, "yuv420p"))
    with pytest.raises(MessageError, match="expected"):
        VideoMessages("h264").decode(bytes(packet), 0)


def test_units_without_start_codes_are_refused_by_name() -> None:
    unit = packets(count=1)[0].replace(b"\0\0\0\1", b"\0\0\0\x20").replace(b"\0\0\1", b"\0\0\x20")
    with pytest.raises(MessageError, match="h264 with start codes"):
        VideoMessages("h264").decode(unit, None)
