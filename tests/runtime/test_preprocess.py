"""Frame grid, faces, audio chunks and token ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.spec import AudioSpec, PresenceSpec
from taemi_edge.media.chunks import AudioChunker
from taemi_edge.media.crops import Face, FaceDetector, FaceTracker, crop_face, overlap
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import FrameGrid
from taemi_edge.media.tokens import WordTokenizer

PRESENCE = PresenceSpec(stale_after_s=1, missing_after_s=2, recover_after_s=0)
SPEC = AudioSpec(feature_dim=1, sample_rate_hz=1000, chunk_s=0.5, context_s=0.25, presence=PRESENCE)


def test_the_grid_takes_the_first_frame_of_each_slot():
    grid = FrameGrid(5.0)
    times = [0.0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.48, 1.3, 1.35, 1.4]
    assert [t for t in times if grid.wants(t)] == [0.0, 0.24, 0.4, 1.3, 1.4]


@given(st.lists(st.floats(0, 20), max_size=60).map(sorted))
def test_the_grid_is_idempotent(times: list[float]):
    first, second = FrameGrid(5.0), FrameGrid(5.0)
    once = [t for t in times if first.wants(t)]
    assert [t for t in once if second.wants(t)] == once


@pytest.fixture(scope="module")
def demo_frame(demo_video):
    with MediaFile(demo_video, 16_000, 5.0) as media:
        return next(hop.frames[0].image for hop in media.hops(0.5) if hop.frames)


def test_the_drawn_face_is_found_where_it_is(demo_frame):
    (face,) = FaceDetector().detect(demo_frame)
    assert overlap(face.box_xyxy, (95, 72, 225, 203)) > 0.8
    assert face.score > 0.7


def test_a_far_face_in_a_wide_picture_is_found_and_an_empty_one_has_none(demo_frame):
    wide = np.full((720, 1280, 3), 128, np.uint8)
    wide[400:640, 900:1220] = demo_frame
    (face,) = FaceDetector().detect(wide)
    assert overlap(face.box_xyxy, (995, 472, 1125, 603)) > 0.6
    assert FaceDetector().detect(np.full((240, 320, 3), 128, np.uint8)) == []


class ScriptedDetector(FaceDetector):
    """Gives what it is told; the tracker's choice is what is tested."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = list(answers)

    def detect(self, image: np.ndarray) -> list[Face]:
        return self.answers.pop(0)


LEFT, LEFT_MOVED, RIGHT = Face((10, 10, 50, 50), 0.8), Face((14, 10, 54, 50), 0.7), Face((100, 10, 140, 50), 0.9)


def test_the_tracker_keeps_to_its_face_and_lets_go_after_a_second():
    tracker = FaceTracker(ScriptedDetector([LEFT], [RIGHT, LEFT_MOVED], [RIGHT], [RIGHT]))
    image = np.zeros((1, 1, 3), np.uint8)
    assert tracker.find(image, 0.0) is LEFT
    assert tracker.find(image, 0.2) is LEFT_MOVED
    assert tracker.find(image, 0.4) is None
    assert tracker.find(image, 1.3) is RIGHT


@pytest.mark.parametrize("box", [(2, 2, 8, 8), (-20, -20, 10, 10), (90, 50, 130, 120), (-50, -50, -10, -10)])
def test_a_crop_has_its_size_wherever_the_face_is(box: tuple[float, ...]):
    crop = crop_face(np.full((100, 120, 3), 200, np.uint8), Face(box, 1.0), (32, 48))
    assert (crop.shape, crop.dtype) == ((32, 48, 3), np.uint8)


def test_a_crop_is_centred_on_the_face():
    image = np.zeros((100, 100, 3), np.uint8)
    image[40:60, 40:60] = 255
    crop = crop_face(image, Face((40, 40, 60, 60), 1.0), (26, 26))
    np.testing.assert_array_equal(crop[..., 0] > 0, np.pad(np.ones((20, 20), bool), 3))


def test_chunks_come_with_their_context_and_exact_samples():
    chunker, values = AudioChunker(SPEC), np.arange(2000, dtype=np.float32)
    chunker.push(0.0, values[:700])
    first = chunker.take(0.7)
    chunker.push(0.7, values[700:])
    rest = chunker.take(2.0)
    assert [(s.start_s, s.end_s, len(s.samples)) for s in first + rest] == [
        (0.0, 0.5, 500),
        (0.5, 1.0, 750),
        (1.0, 1.5, 750),
        (1.5, 2.0, 750),
    ]
    np.testing.assert_array_equal(rest[0].samples, values[250:1000])


def test_a_gap_loses_its_chunk_and_the_context_of_the_next():
    chunker, values = AudioChunker(SPEC), np.ones(500, np.float32)
    chunker.push(0.0, values)
    chunker.push(1.0, values)
    chunker.push(1.5, values)
    assert [(s.start_s, len(s.samples)) for s in chunker.take(2.0)] == [(0.0, 500), (1.0, 500), (1.5, 750)]


def test_a_long_gap_costs_no_memory():
    chunker = AudioChunker(SPEC)
    for hop in range(1, 10_000):
        assert chunker.take(hop * 0.5) == []
    chunker.push(4999.5, np.ones(500, np.float32))
    (segment,) = chunker.take(5000.0)
    assert (segment.start_s, len(chunker._values)) == (4999.5, SPEC.context_samples)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=12))
def test_chunks_do_not_depend_on_how_the_sound_was_cut(cuts: list[int]):
    values = np.random.default_rng(0).standard_normal(sum(cuts)).astype(np.float32)
    whole, pieces = AudioChunker(SPEC), AudioChunker(SPEC)
    whole.push(0.0, values)
    at, streamed = 0, []
    for cut in cuts:
        pieces.push(at / 1000, values[at : at + cut])
        at += cut
        streamed += pieces.take(at / 1000)
    expected = whole.take(at / 1000)
    assert [s.start_s for s in streamed] == [s.start_s for s in expected]
    for a, b in zip(streamed, expected, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)


def test_of_a_long_text_the_newest_words_stay(tiny):
    tokenizer = WordTokenizer(tiny.tokenizer_file.read_text(encoding="utf-8"), 8)
    feeds = tokenizer.feeds(["abcdefghij", "yz"])
    assert feeds["ids"].dtype == feeds["mask"].dtype == np.int32
    assert feeds["mask"].sum(1).tolist() == [8, 4]
    assert feeds["ids"][1, 4:].tolist() == [0] * 4
    kept = tokenizer.feeds(["efghij"])["ids"]
    np.testing.assert_array_equal(feeds["ids"][0], kept[0])
