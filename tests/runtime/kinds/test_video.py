"""Video: faces become rows of the ring, and their absence is noted."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.crops import FaceDetector
from taemi_edge.media.hops import Frame
from taemi_edge.runtime.kinds.video import VideoStream
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.work import Stopwatch, Work
from tests.media import first_hops


@pytest.fixture
def stream(tiny: Bundle) -> VideoStream:
    presence = StreamPresence(tiny.manifest.streams["vision"].presence)
    return VideoStream(tiny.manifest.vision, presence, capacity=20, detector=FaceDetector())


def prepared(stream: VideoStream, end_s: float, frames, **losses: str) -> PreparedHop:
    watch = Stopwatch()
    return PreparedHop(end_s, stream.prepare(frames, watch, lazily=False), [], None, watch, 0.0, losses)


def test_faces_get_rows_and_count_as_arrived(stream: VideoStream, demo_video):
    hop = first_hops(demo_video, 1)[0]
    ready = prepared(stream, 0.5, hop.frames)
    [faces] = stream.batches(ready)
    fields = stream.place(faces)
    assert fields["pixel_rows"].tolist() == [0, 1, 2]
    assert stream.rows(0.1, 0.5).tolist() == [1, 2]
    assert stream.presence.at(0.5).state == "live"
    assert stream.face is not None
    assert ready.watch.total_ms["face"] > 0


def test_a_picture_without_a_face_is_no_arrival(stream: VideoStream):
    wall = Frame(0.0, np.full((120, 160, 3), 128, np.uint8))
    assert list(stream.batches(prepared(stream, 0.5, [wall]))) == []
    assert stream.presence.at(0.5).reason == "no face in view"


def test_a_picture_that_is_known_to_be_gone_is_not_looked_at(stream: VideoStream, demo_video):
    hop = first_hops(demo_video, 1)[0]
    assert list(stream.batches(prepared(stream, 0.5, hop.frames, vision="connection refused"))) == []


def test_after_a_loss_only_the_new_rows_are_left(stream: VideoStream):
    face = np.zeros((8, 8, 3), np.uint8)
    stream.place([(0.1, face), (0.2, face)])
    new = stream.place([(0.3, face)])
    stream.keep_only(Work(**new))
    assert stream.rows(0.0, 1.0).tolist() == new["pixel_rows"].tolist() == [2]
    stream.forget()
    assert not len(stream.rows(0.0, 1.0))
