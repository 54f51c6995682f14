"""Video: crops and clips become rows of the ring, and the absence of a face is noted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import PresenceSpec, VideoSpec
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import Frames
from taemi_edge.media.faces import FaceDetector
from taemi_edge.media.hops import Frame
from taemi_edge.media.slots import NO_SLOT
from taemi_edge.runtime.kinds import video
from taemi_edge.runtime.kinds.kind import Opening
from taemi_edge.runtime.kinds.video import VideoState
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.rings import Span, StepCounts
from taemi_edge.runtime.work import Stopwatch
from tests.media import first_hops

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)


def opened(tiny: Bundle, steps: int = 1, **changes) -> VideoState:
    spec = msgspec.structs.replace(tiny.manifest.streams["vision"], **changes)
    detector = FaceDetector() if spec.crop == "face" else None
    counts = StepCounts(spec.clip_frames, 0, lambda _: steps)
    return video.open_stream(Opening(spec, StreamPresence(spec.presence), 20, counts, detector=detector))


@pytest.fixture
def stream(tiny: Bundle) -> VideoState:
    return opened(tiny)


def batches(stream: VideoState, frames, watch: Stopwatch | None = None, lost: bool = False):
    return list(stream.batches(stream.prepare(frames, 0.5, watch or Stopwatch(), False), lost))


def grey_frames(count: int, first: int = 0) -> list[Frame]:
    return [Frame(0.2 * i, np.full((48, 64, 3), i, np.uint8)) for i in range(first, first + count)]


def test_faces_get_rows_and_count_as_arrived(stream: VideoState, demo_video):
    hop, watch = first_hops(demo_video, 1)[0], Stopwatch()
    [faces] = batches(stream, hop.frames, watch)
    assert [item.rows for item in stream.place(faces)] == [Span(0, 1), Span(1, 1), Span(2, 1)]
    assert stream.rows(0.1, 0.5) == Span(1, 2)
    assert stream.presence.at(0.5).state == "live"
    assert stream.face is not None
    assert watch.total_ms["face"] > 0
    stream.forget_face()
    assert stream.face is None


def test_a_picture_without_a_face_is_no_arrival(stream: VideoState):
    wall = Frame(0.0, np.full((120, 160, 3), 128, np.uint8))
    assert batches(stream, [wall]) == []
    assert stream.presence.at(0.5).reason == "no face in view"


def test_a_picture_without_a_face_will_do_for_a_stream_that_looks_for_none(tiny: Bundle):
    stream, watch = opened(tiny, crop="whole"), Stopwatch()
    [crops] = batches(stream, grey_frames(2), watch)
    size_hw = tiny.manifest.streams["vision"].size_hw
    assert [item.feeds["pixels"].shape for item in stream.place(crops)] == [(*size_hw, 3)] * 2
    assert stream.presence.at(0.5).state == "live"
    assert watch.total_ms == {}


def test_a_picture_that_is_known_to_be_gone_is_not_looked_at(stream: VideoState, demo_video):
    hop = first_hops(demo_video, 1)[0]
    assert batches(stream, hop.frames, lost=True) == []


def test_a_clip_of_frames_is_one_input_that_ends_with_the_newest(tiny: Bundle):
    stream = opened(tiny, crop="whole", clip_frames=3)
    assert batches(stream, grey_frames(2)) == []
    [clips] = batches(stream, grey_frames(2, first=2))
    items = stream.place(clips)
    assert [item.feeds["pixels"][:, 0, 0, 0].tolist() for item in items] == [[0, 1, 2], [1, 2, 3]]
    assert stream.rows(0.5, 1.0) == Span(1, 1)


def test_a_camera_that_is_too_slow_for_clips_is_said_to_be(tiny: Bundle):
    stream = opened(tiny, crop="whole", clip_frames=4, frames_per_second=25.0)
    frames = [Frame(at / 8, np.zeros((32, 32, 3), np.uint8)) for at in range(8)]
    assert list(stream.batches(stream.prepare(frames, 1.0, Stopwatch(), False), lost=False)) == []
    assert stream.presence.at(1.0).reason == "its pictures lie too far apart for a clip of 4 at 25 a second"


def test_an_encoder_of_several_steps_a_frame_gets_a_row_for_each(tiny: Bundle):
    stream = opened(tiny, steps=4, crop="centre")
    [crops] = batches(stream, grey_frames(2))
    assert [item.rows for item in stream.place(crops)] == [Span(0, 4), Span(4, 4)]


def test_after_a_loss_only_the_new_rows_are_left(stream: VideoState):
    face = np.zeros((8, 8, 3), np.uint8)
    stream.place([(0.1, face, NO_SLOT), (0.2, face, NO_SLOT)])
    new = stream.place([(0.3, face, NO_SLOT)])
    stream.repeated(new)
    assert stream.rows(0.0, 1.0) == new[0].rows == Span(2, 1)
    stream.forget()
    assert not stream.rows(0.0, 1.0).count


@pytest.mark.parametrize(
    ("shape", "dtype", "count"),
    [
        ((48, 64), np.uint8, 1),
        ((48, 64, 1), np.uint16, 1),
        ((48, 64, 4), np.uint8, 1),
        ((5, 48, 64), np.uint16, 5),
        ((2, 48, 64, 3), np.float32, 2),
    ],
)
def test_an_intake_takes_pictures_of_any_kind(shape: tuple[int, ...], dtype: type, count: int):
    spec = VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=10.0)
    intake = video.open_intake("thermal", spec, 4.0)
    intake.add(np.zeros(shape, dtype), 3.0)
    frames = intake.take(3.0, lambda time_s: time_s)
    assert [frame.time_s for frame in frames] == pytest.approx([3.0 - 0.1 * i for i in range(count)][::-1])
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}


def test_pictures_may_be_overwritten_once_they_were_handed_over():
    spec = VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=5.0)
    buffer = np.zeros((1, 8, 8, 3), np.uint8)
    intake = video.open_intake("thermal", spec, 4.0)
    intake.add(Frames(buffer, [0.0]), 0.0)
    intake.add(buffer, 0.2)
    buffer[:] = 255
    assert [frame.image.max() for frame in intake.take(1.0, float)] == [0, 0]


def test_a_crop_is_taken_as_it_is_and_no_face_is_looked_for(tiny: Bundle):
    spec = tiny.manifest.streams["vision"]
    crop = np.random.default_rng(0).integers(0, 255, (*spec.size_hw, 3)).astype(np.uint8)
    [[(time_s, pixels, _)]] = batches(opened(tiny), [Frame(0.25, crop, is_crop=True)])
    np.testing.assert_array_equal(pixels, crop)
    assert time_s == 0.25
    assert not np.shares_memory(pixels, crop)  # its owner may use the memory again
    assert opened(tiny).face is None


def test_clips_may_be_made_of_crops(tiny: Bundle):
    height, width = tiny.manifest.streams["vision"].size_hw
    crops = [Frame(0.2 * i, np.full((height, width, 3), i, np.uint8), is_crop=True) for i in range(3)]
    [[first, second]] = batches(opened(tiny, clip_frames=2), crops)
    assert [clip[1][:, 0, 0, 0].tolist() for clip in (first, second)] == [[0, 1], [1, 2]]


def test_single_frames_are_handed_over_without_a_copy(tiny: Bundle):
    spec = tiny.manifest.streams["vision"]
    intake = video.open_intake("vision", spec, 4.0)
    frames = grey_frames(3)
    intake.add(frames, 0.4)
    assert intake.first_s() == 0.0
    taken = intake.take(0.2, lambda time_s: time_s + 1.0)
    assert [frame.time_s for frame in taken] == [1.0, 1.2]
    assert taken[0].picture is frames[0].picture
    assert video.newest_s(frames) == 0.4
    with pytest.raises(UsageError, match=r"vision: expected crops of the shape \(\d+, \d+, 3\), got \(48, 64, 3\)"):
        intake.add([Frame(0.5, frames[0].picture, is_crop=True)], 0.5)
