"""Annotated pictures and videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES
from taemi_edge.media.crops import Face
from taemi_edge.media.hops import Frame, SoundPiece
from taemi_edge.runtime.annotate import CAPTION_HEIGHT, PANEL_WIDTH, PICTURE_HEIGHT, AnnotatedVideo, compose
from taemi_edge.runtime.prediction import Prediction

PREDICTION = Prediction(
    source="talk.mp4",
    time_s=0.5,
    window_s=(0.0, 0.5),
    outputs={"intensities": dict.fromkeys(EMOTIONS, 0.5)},
    presence=dict.fromkeys(MODALITIES, "live"),
    age_ms=dict.fromkeys(MODALITIES, 0.0),
    latency_ms={},
    reason={},
    status="ok",
)
GREY = np.full((240, 320, 3), 128, np.uint8)


def test_a_picture_has_its_panel_and_its_caption():
    picture = compose(GREY, PREDICTION, Face((80, 60, 240, 180), 0.9), "so it is")
    assert picture.shape == (PICTURE_HEIGHT + CAPTION_HEIGHT, 640 + PANEL_WIDTH, 3)
    assert (picture[120, 160:480] > 220).all()  # the upper edge of the face's box
    assert (picture[:PICTURE_HEIGHT, :640] == 128).mean() > 0.98
    assert len(np.unique(picture[:, 640:].reshape(-1, 3), axis=0)) > 8


def test_a_video_appears_once_it_is_complete(tmp_path: Path):
    file = tmp_path / "a.mp4"
    with AnnotatedVideo(file, 16_000, Fraction(10)) as video:
        frames = [Frame(i / 10, GREY) for i in range(10)]
        video.add(frames, [SoundPiece(0.0, np.zeros(16_000, np.float32))], PREDICTION, None)
        assert not file.exists()
    with av.open(str(file)) as container:
        assert container.streams.video[0].frames == 10
        assert container.duration / av.time_base == pytest.approx(1.0, abs=0.2)


def test_a_video_that_failed_leaves_nothing(tmp_path: Path):
    with pytest.raises(ValueError, match="stop"), AnnotatedVideo(tmp_path / "a.mp4", 16_000, Fraction(10)) as video:
        video.add([Frame(0.0, GREY)], [], None, None)
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []
