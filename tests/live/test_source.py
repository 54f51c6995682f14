"""One source of a live run: its hops, and which of its streams are lost."""

from __future__ import annotations

import numpy as np

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.replay import SeriesReplay
from taemi_edge.live.source import LiveSource
from taemi_edge.live.words import WordInbox
from taemi_edge.media.hops import SoundPiece
from taemi_edge.media.transcripts import Word
from tests.live.frames import frame, sound

SETTINGS = WatchSettings()


def live_source() -> tuple[LiveSource, FrameBox, SoundBox]:
    """A source whose camera is not connected; frames and sound are put into its boxes by the tests."""
    frames, sounds = FrameBox(None, keep_s=60.0), SoundBox(16_000, keep_s=60.0)
    spec = CaptureSpec("door", parse_address("rtsp://door/1"), {"near": "video", "far": "video"})
    camera = Capture(spec, {"near": frames}, SessionClock(), SETTINGS)
    boxes = {"near": frames, "sound": sounds, "said": WordInbox("nobody has sent a transcript yet")}
    return LiveSource("door", [camera], boxes, SETTINGS), frames, sounds


def test_a_hop_holds_what_came_and_why_streams_are_lost():
    source, frames, sounds = live_source()
    frames.put(frame(0.2))
    sounds.put(sound(0.2, 0.1))
    hop = source.take(0.5, now_s=0.6)
    assert [f.time_s for f in hop.pieces["near"]] == [0.2]
    assert len(hop.pieces["sound"]) == 1
    assert hop.losses == {"near": "connecting", "far": "connecting", "said": "nobody has sent a transcript yet"}
    assert list(source.pictures) == ["near"]
    assert source.beside("near") == ("near", "far")


def test_digital_silence_is_left_out_and_named_until_there_is_sound_again():
    source, _, sounds = live_source()
    heard: list[SoundPiece] = []
    source.taps["sound"] = heard.extend
    for index in range(20):
        sounds.put(sound(index * 0.1, 0.0))
    hop = source.take(2.0, now_s=2.1)
    assert hop.losses["sound"] == "digital silence"
    assert heard == hop.pieces["sound"]
    assert len(heard) == 15  # so long silence counts as good
    sounds.put(sound(2.0, 0.1))
    assert "sound" not in source.take(2.5, now_s=2.6).losses


def test_a_source_of_sensors_alone_ends_with_standard_input_and_not_before():
    rows, words = RowBox(1, 5.0, "nobody has sent imu yet"), WordInbox("nobody yet")
    source = LiveSource("rig", [], {"imu": rows, "said": words}, SETTINGS)
    assert source.take(0.5, 0.6).losses == {"imu": "nobody has sent imu yet", "said": "nobody yet"}
    assert source.pictures == {}
    rows.ended = True
    assert not source.ended(1.0)
    words.ended = True
    assert source.ended(1.0)


def test_a_replayed_series_ends_its_source_although_a_sensor_goes_on():
    replay = SeriesReplay(np.array([0.0, 0.5]), np.zeros((2, 1), np.float32))
    source = LiveSource("rig", [], {"imu": replay, "heart": RowBox(1, 5.0, "nobody yet")}, SETTINGS)
    assert not source.ended(0.1)
    assert len(source.take(0.6, 0.7).pieces["imu"][0].rows) == 2
    assert source.ended(0.7)
    assert source.losses(0.7)["imu"] == "the file is at its end"


def test_a_source_of_known_words_alone_ends_with_them():
    source = LiveSource("talk", [], {}, SETTINGS, known_until_s=Word(1.0, 4.0, "so").end_s)
    assert not source.ended(3.9)
    assert source.ended(4.0)
