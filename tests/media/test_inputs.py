"""Inputs of the encoders, and their features with the times that belong to them."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.chunks import Segment
from taemi_edge.media.crops import FaceCrop
from taemi_edge.media.inputs import CropReader, InputReader, encode_crops, encode_segments
from tests.media import first_hops


def mean_of_pixels(feeds):
    return {"features": feeds["pixels"].mean(axis=(1, 2, 3))[:, None]}


def mean_of_quarters(feeds):
    return {"features": feeds["samples"].reshape(len(feeds["samples"]), 4, -1).mean(axis=2)[..., None]}


def test_a_clip_gives_faces_on_the_grid_and_whole_chunks(tiny: Bundle, demo_video):
    reader = InputReader(tiny.manifest.streams["vision"], tiny.manifest.streams["audio"])
    crops, segments = [], []
    for hop in first_hops(demo_video, 4):
        crops += reader.crops(hop.frames)
        segments += reader.segments(hop.sound, hop.end_s)
    assert len(crops) == 11
    assert all(crop.pixels.shape == (*tiny.manifest.streams["vision"].size_hw, 3) for crop in crops)
    assert segments[-1].end_s == 2.0


def test_a_face_is_searched_when_its_crop_is_taken(tiny: Bundle, demo_video):
    reader = CropReader(tiny.manifest.streams["vision"])
    crops = reader.crops(first_hops(demo_video, 1)[0].frames)
    assert reader.face is None
    next(crops)
    assert reader.face is not None


def test_features_of_crops_leave_out_frames_without_a_face():
    crops = [FaceCrop(t, None if t == 1.0 else np.full((2, 2, 3), round(t), np.uint8)) for t in (0.0, 1.0, 2.0)]
    times_s, features = encode_crops(mean_of_pixels, crops)
    assert times_s.tolist() == [0.0, 2.0]
    assert features.tolist() == [[0.0], [2.0]]
    assert encode_crops(mean_of_pixels, [])[1].shape == (0, 0)


def test_features_of_sound_leave_out_its_context():
    samples = np.repeat(np.arange(4, dtype=np.float32), 2)
    times_s, features = encode_segments(mean_of_quarters, [Segment(1.0, 2.0, samples, 4)])
    assert times_s.tolist() == [1.5, 2.0]
    assert features.tolist() == [[2.0], [3.0]]
