"""Real video and speech as topics of ROS 2, played at their own pace by a node in this process."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

zenoh = pytest.importorskip("zenoh")
pytest.importorskip("rosbags")

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import FrameBox, SoundBox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.source_plans import track_of
from taemi_edge.media.colours import rgb_pixels
from tests.live.ros.network import RosNetwork, until
from tests.live.specs import CAMERA, MICROPHONE
from tests.robots.messages import Form, messages

pytestmark = [pytest.mark.once, pytest.mark.nightly]


class Player(threading.Thread):
    """Plays the messages of one topic again and again, as rmw_zenoh sends them; without tokens."""

    def __init__(self, router: str, sent: list) -> None:
        super().__init__(daemon=True)
        settings = {
            "mode": "peer",
            "connect": {"endpoints": [router]},
            "listen": {"endpoints": ["tcp/127.0.0.1:0"]},
            "scouting": {"multicast": {"enabled": False}},
        }
        self._session, self._sent = zenoh.open(zenoh.Config.from_json5(json.dumps(settings))), sent
        self.over = threading.Event()

    def run(self) -> None:
        i64, number = zenoh.ext.Int64, 0
        while not self.over.is_set():
            began_s, first_ns = time.monotonic(), self._sent[0].log_ns
            for message in self._sent:
                if self.over.wait(max(0.0, began_s + (message.log_ns - first_ns) / 1e9 - time.monotonic())):
                    break
                number += 1
                package, _, name = message.type.replace("/msg/", "/").partition("/")
                key = f"0{message.topic}/{package}::msg::dds_::{name}_/TypeHashNotSupported"
                attachment = zenoh.ext.z_serialize((i64(number), i64(time.time_ns()), b"p" * 16))
                self._session.put(key, message.data, attachment=attachment)
        self._session.close()


@pytest.mark.parametrize(
    ("form", "topic"),
    [
        ("jpeg", "/camera/image_raw/compressed"),
        ("h264-ros", "/camera/video"),
        ("h264-compressed", "/camera/h264"),
        ("bgr8", "/camera/image_raw"),
        ("sound", "/audio"),
    ],
)
def test_pictures_and_speech(drive, form, topic):
    asked = Form(pictures="none", sound=True) if form == "sound" else Form(pictures=form)
    sent = [message for message in messages(drive, asked) if message.topic == topic]
    assert sent
    spec = MICROPHONE if form == "sound" else CAMERA
    box = SoundBox(16_000, 60.0) if form == "sound" else FrameBox(None, 60.0)
    with RosNetwork() as network:
        clock = SessionClock()
        address = parse_address(f"ros:{topic}?router={network.router}")
        capture = CaptureSpec("robot", address, {"stream": track_of(spec)}, stream=spec)
        capturing = Capture(capture, {"stream": box}, clock, WatchSettings())
        player = Player(network.router, sent)
        capturing.start()
        player.start()
        try:
            pieces: list = []
            until(lambda: pieces.extend(box.take(clock.now_s())[0]) or len(pieces) > (150 if form == "sound" else 20))
            assert capturing.losses(clock.now_s()) == {}
            if form == "sound":
                assert np.abs(np.concatenate([piece.values for piece in pieces])).max() > 0.01
            else:
                picture = pieces[-1].picture
                shown = picture if isinstance(picture, np.ndarray) else rgb_pixels(picture)
                assert shown.shape == (120, 160, 3)
                assert shown.std() > 10
        finally:
            player.over.set()
            player.join(10)
            capturing.stop()
