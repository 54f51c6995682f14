"""The drawn face and the espeak-ng voice, and the clip that was made of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.media.faces import FaceDetector
from taemi_edge.media.files import MediaFile
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.taemi.synthetic.face import Expression, Look, draw_face

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "expression",
    [
        Expression(),
        Expression(smile=1, mouth_open=1, brows=1),
        Expression(smile=-1, brows=-1, eyes_open=0),
        Expression(tilt_deg=8, shift_xy=(0.2, 0.05)),
    ],
)
def test_a_detector_takes_every_expression_for_a_face(expression: Expression):
    (face,) = FaceDetector().detect(draw_face(expression, Look(), (320, 240)))
    assert face.score > 0.7


def test_an_expression_moves_the_mouth_and_nothing_above_the_eyes():
    plain, smiling = (draw_face(Expression(smile=s), Look(), (320, 240)).astype(int) for s in (0.0, 1.0))
    moved = np.abs(plain - smiling).max(axis=(1, 2))
    assert moved[140:190].max() > 50
    assert moved[:100].max() == 0


def test_the_clip_that_ships_is_small_and_has_a_face_a_voice_and_its_words(demo_video, demo_vtt):
    assert demo_video.stat().st_size < 400_000
    with MediaFile(demo_video) as media:
        assert (media.has_video, media.has_audio) == (True, True)
        words = read_transcript(demo_vtt, None)
        assert media.duration_s is not None
        assert words[-1].end_s <= media.duration_s


@pytest.mark.nightly
def test_the_command_beside_it_makes_the_clip(demo_video, demo_vtt, tmp_path):
    pytest.importorskip("espeakng_loader")
    subprocess.run([sys.executable, "tools/make_demo_clip.py", str(tmp_path)], check=True, cwd=ROOT, timeout=200)
    assert (tmp_path / "demo.vtt").read_text() == demo_vtt.read_text()
    with MediaFile(tmp_path / "demo.mp4") as made, MediaFile(demo_video) as shipped:
        for a, b in zip(made.hops(2.0), shipped.hops(2.0), strict=True):
            assert [f.time_s for f in a.frames] == [f.time_s for f in b.frames]
            assert np.abs(a.frames[0].image.astype(int) - b.frames[0].image).mean() < 2
