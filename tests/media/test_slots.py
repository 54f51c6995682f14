"""Inputs are written straight into slots, are the same as without them, and give their slots back."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, VideoSpec
from taemi_edge.media.chunks import Chunker
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Frame, SoundPiece
from taemi_edge.media.inputs import CropReader
from taemi_edge.media.slots import NO_SLOT, new_input
from tests.media.counted_slots import CountedSlots

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
RNG = np.random.default_rng(3)
SOUND = AudioSpec(feature_dim=1, presence=PRESENCE, sample_rate_hz=100, chunk_s=0.5, context_s=0.25)
IMU = SeriesSpec(feature_dim=1, presence=PRESENCE, channels=3, rate_hz=100.0, chunk_s=0.5, context_s=0.25)


class FixedDetector:
    """Finds one face, in all pictures but dark ones."""

    def detect(self, image: np.ndarray) -> list[Face]:
        return [Face((10.0, 5.0, 40.0, 45.0), 0.9)] if image.any() else []


def frames(count: int = 6) -> list[Frame]:
    pictures = [RNG.integers(1, 255, (48, 64, 3), np.uint8) for _ in range(count)]
    return [Frame(0.1 * index, picture) for index, picture in enumerate(pictures)]


@pytest.mark.parametrize("crop", ["whole", "centre", "face"])
@pytest.mark.parametrize("size_hw", [(32, 32), (48, 64), (96, 80)])
@pytest.mark.parametrize("clip_frames", [1, 3])
def test_crops_and_clips_lie_in_slots_and_are_what_they_were(crop, size_hw, clip_frames):
    spec = VideoSpec(
        feature_dim=1, presence=PRESENCE, size_hw=size_hw, frames_per_second=10.0, crop=crop, clip_frames=clip_frames
    )
    given, detector = frames(), FixedDetector() if crop == "face" else None
    clip = (clip_frames,) if clip_frames > 1 else ()
    pool = CountedSlots((*clip, *size_hw, 3), np.uint8)
    plain = list(CropReader(spec, detector).crops(given))
    written = list(CropReader(spec, detector, pool).crops(given))
    assert len(written) == len(plain) == 7 - clip_frames
    for one, other in zip(written, plain, strict=True):
        assert pool.holds(one.slot, one.pixels)
        assert other.slot == NO_SLOT
        assert np.array_equal(one.pixels, other.pixels)
    assert len({one.slot for one in written}) == len(written) == pool.count - pool.free
    del one, written
    assert pool.free == pool.count


def test_a_picture_without_a_face_takes_no_slot():
    spec = VideoSpec(feature_dim=1, presence=PRESENCE, size_hw=(32, 32), frames_per_second=10.0, crop="face")
    pool = CountedSlots((32, 32, 3), np.uint8)
    [crop] = CropReader(spec, FixedDetector(), pool).crops([Frame(0.0, np.zeros((48, 64, 3), np.uint8))])
    assert (crop.pixels, crop.slot, pool.taken) == (None, NO_SLOT, 0)


def test_a_picture_that_cannot_be_read_keeps_no_slot():
    """Those that were made before it go back as well."""

    class Breaking(FixedDetector):
        def detect(self, image: np.ndarray) -> list[Face]:
            if image.max() == 1:
                raise ValueError("broken")
            return super().detect(image)

    spec = VideoSpec(feature_dim=1, presence=PRESENCE, size_hw=(32, 32), frames_per_second=10.0, crop="face")
    pool = CountedSlots((32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="broken"):
        list(CropReader(spec, Breaking(), pool).crops([*frames(3), Frame(0.9, np.ones((48, 64, 3), np.uint8))]))
    gc.collect()
    assert (pool.taken, pool.free) == (3, pool.count)


def pieces(gap: bool, late: bool) -> list[SoundPiece]:
    values = RNG.standard_normal(200).astype(np.float32)
    until = 190 if late else 200
    if gap:
        return [SoundPiece(0.0, values[:95]), SoundPiece(0.98, values[98:until])]
    return [SoundPiece(0.0, values[:until])]


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("channels", [None, 3])
def test_chunks_lie_in_slots_and_are_what_they_were(gap, late, channels):
    """With context and without; what did not come is silence in sound, and the last value in a series."""
    spec = SOUND if channels is None else IMU
    given = pieces(gap, late)
    if channels:
        given = [SoundPiece(p.time_s, np.stack([p.values + c for c in range(channels)], axis=1)) for p in given]
    pool = CountedSlots((75,) if channels is None else (75, channels), np.float32)
    plain = Chunker(spec, channels=channels).cut(given, 2.0)
    written = Chunker(spec, channels=channels, slots=pool).cut(given, 2.0)
    assert {len(segment.samples) for segment in plain} == {50, 75}
    for one, other in zip(written, plain, strict=True):
        assert pool.holds(one.slot, one.samples)
        assert one.samples.flags.c_contiguous
        assert np.array_equal(one.samples, other.samples)
    assert pool.count - pool.free == len(written)
    del one, written
    assert pool.free == pool.count


def test_where_all_slots_are_in_use_an_input_is_an_array_of_its_own():
    pool = CountedSlots((75,), np.float32, count=2)
    segments = Chunker(SOUND, slots=pool).cut(pieces(gap=False, late=False), 2.0)
    assert [segment.slot == NO_SLOT for segment in segments] == [False, False, True, True]
    del segments
    assert pool.free == 2


@pytest.mark.parametrize(("shape", "dtype"), [((4, 2), np.float32), ((3, 3), np.float32), ((2, 2), np.float64)])
def test_what_does_not_fit_lies_in_no_slot(shape, dtype):
    pool = CountedSlots((3, 2), np.float32)
    number, values = new_input(pool, shape, dtype)
    assert (number, values.shape, values.dtype) == (NO_SLOT, shape, dtype)
    assert pool.free == pool.count


def test_a_view_keeps_its_slot():
    pool = CountedSlots((3, 2), np.float32)
    number, values = new_input(pool, (2, 2), np.float32)
    view = values[:1]
    del values
    assert pool.holds(number, view)
    assert pool.free == pool.count - 1
    del view
    assert pool.free == pool.count
