"""Annotated pictures and videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, VideoSpec
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.runtime.annotate import CAPTION_HEIGHT, PICTURE_HEIGHT, AnnotatedVideo, compose
from taemi_edge.runtime.panel import PANEL_WIDTH, Panel
from taemi_edge.runtime.prediction import Prediction

EMOTIONS = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")
STREAMS = ("vision", "audio", "text")
PREDICTION = Prediction(
    source="talk.mp4",
    time_s=0.5,
    window_s=(0.0, 0.5),
    outputs={"intensities": dict.fromkeys(EMOTIONS, 0.5)},
    presence=dict.fromkeys(STREAMS, "live"),
    age_ms=dict.fromkeys(STREAMS, 0.0),
    latency_ms={},
    reason={},
    status="ok",
)
GREY = np.full((240, 320, 3), 128, np.uint8)
PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
FRONT = VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=5.0)
MICROPHONE = AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=16_000, chunk_s=1.0)
IMU = SeriesSpec(feature_dim=4, channels=6, presence=PRESENCE)
DISTANCE = {"distance": RegressionSpec(("metres",))}


def manifest(**streams: Any) -> Any:
    """As much of a manifest as a video is drawn from."""
    return SimpleNamespace(outputs=DISTANCE, streams=streams, synthetic=False)


def prediction(time_s: float, *streams: str) -> Prediction:
    """A prediction of a distance, with all streams live."""
    presence: Any = dict.fromkeys(streams, "live")
    return Prediction(
        source="x",
        time_s=time_s,
        window_s=(0.0, time_s),
        outputs={"distance": {"metres": time_s}},
        presence=presence,
        age_ms={},
        latency_ms={},
        reason={},
        status="ok",
    )


def test_a_picture_has_its_panel_and_its_caption():
    specs: Any = dict.fromkeys(STREAMS)
    panel = Panel({"intensities": RegressionSpec(EMOTIONS, (0.0, 1.0))}, specs).draw(PREDICTION)
    picture = compose(GREY, panel, Face((80, 60, 240, 180), 0.9), "so it is")
    assert picture.shape == (PICTURE_HEIGHT + CAPTION_HEIGHT, 640 + PANEL_WIDTH, 3)
    assert (picture[120, 160:480] > 220).all()  # the upper edge of the face's box
    assert (picture[:PICTURE_HEIGHT, :640] == 128).mean() > 0.98
    assert len(np.unique(picture[:, 640:].reshape(-1, 3), axis=0)) > 8


@pytest.mark.parametrize(
    ("size_hw", "width"),
    [((32, 32), 480), ((641, 361), 270), ((101, 3001), 1280), ((1000, 3), 120), ((1, 1), 480), ((240, 320), 640)],
)
def test_pictures_of_any_size_keep_their_shape(size_hw: tuple[int, int], width: int):
    image = np.full((*size_hw, 3), 255, np.uint8)
    picture = compose(image, np.zeros((PICTURE_HEIGHT, PANEL_WIDTH, 3), np.uint8), caption="word " * 99)
    assert picture.shape == (PICTURE_HEIGHT + CAPTION_HEIGHT, width + PANEL_WIDTH, 3)
    white = np.argwhere((picture[:PICTURE_HEIGHT, :width] == 255).all(axis=-1))
    shown_hw = white.max(axis=0) - white.min(axis=0) + 1
    assert shown_hw[0] == PICTURE_HEIGHT or shown_hw[1] == width
    assert shown_hw[1] == pytest.approx(shown_hw[0] * size_hw[1] / size_hw[0], rel=0.05, abs=1)


def test_a_video_appears_once_it_is_complete(tmp_path: Path):
    file = tmp_path / "a.mp4"
    with AnnotatedVideo(file, manifest(front=FRONT, mic=MICROPHONE), Fraction(10)) as video:
        sound = [SoundPiece(0.0, np.zeros(16_000, np.float32))]
        video.add(Hop(0.5, {"mic": []}), None, None)  # nothing to show yet: the video begins with the first picture
        frames = [Frame(i / 10, GREY) for i in range(10)]
        video.add(Hop(1.0, {"front": frames, "mic": sound}), prediction(0.5, "front", "mic"), None)
        assert not file.exists()
    with av.open(str(file)) as container:
        assert container.streams.video[0].frames == 10
        assert container.duration / av.time_base == pytest.approx(1.0, abs=0.2)


def test_the_microphone_that_is_there_is_heard(tmp_path: Path):
    other = AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=48_000, chunk_s=1.0)
    with AnnotatedVideo(tmp_path / "a.mkv", manifest(left=MICROPHONE, right=other), Fraction(10)) as video:
        sound = SoundPiece(0.0, np.full(48_000, 0.25, np.float32))
        video.add(Hop(1.0, {"left": [], "right": [sound]}), None, None)
    with av.open(str(tmp_path / "a.mkv")) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert container.streams.audio[0].rate == 48_000
    assert np.median(heard) == pytest.approx(0.25, abs=0.02)


def test_a_picture_that_changes_its_shape_is_not_stretched(tmp_path: Path):
    portrait = np.full((320, 240, 3), 255, np.uint8)
    with AnnotatedVideo(tmp_path / "a.mp4", manifest(front=FRONT), Fraction(10)) as video:
        video.add(Hop(0.2, {"front": [Frame(0.0, GREY), Frame(0.1, portrait)]}), None, None)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio
        first, second = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
    assert first.shape == second.shape
    white = np.flatnonzero((second[240, :640] > 240).all(axis=-1))
    assert white.max() - white.min() == pytest.approx(360, abs=4)


def test_a_model_without_pictures_gets_a_video_of_its_panel(tmp_path: Path):
    with AnnotatedVideo(tmp_path / "a.mkv", manifest(imu=IMU), Fraction(25)) as video:
        for index in range(4):
            rows = Values(np.array([index * 0.5]), np.zeros((1, 6), np.float32))
            last = prediction(index * 0.5, "imu") if index else None
            video.add(Hop(index * 0.5 + 0.5, {"imu": [rows]}), last, None)
    with av.open(str(tmp_path / "a.mkv")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=0.01)
    assert {(frame.width, frame.height) for frame in frames} == {(PANEL_WIDTH, PICTURE_HEIGHT + CAPTION_HEIGHT)}


def test_a_video_that_failed_leaves_nothing(tmp_path: Path):
    with (
        pytest.raises(ValueError, match="stop"),
        AnnotatedVideo(tmp_path / "a.mp4", manifest(front=FRONT), Fraction(10)) as video,
    ):
        video.add(Hop(0.1, {"front": [Frame(0.0, GREY)]}), None, None)
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []
