"""Rendering synthetic clips: emotions differ, and a plan becomes frames and sound of one length."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="synthetic voices need the extra `synth`")

from taemi_edge.taemi.synthetic.clip_plan import plan_clip
from taemi_edge.taemi.synthetic.rendering import (
    FRAMES_PER_SECOND,
    SAMPLE_RATE_HZ,
    SIZE_WH,
    draw_frames,
    expression_of,
    speak_clip,
    voice_of,
)


def test_no_two_emotions_look_and_sound_alike():
    def knobs(feeling: np.ndarray) -> np.ndarray:
        face, voice = expression_of(feeling), voice_of(feeling)
        faces = [face.smile, face.brows, face.eyes_open, face.mouth_open, face.tilt_deg / 15]
        return np.array([*faces, voice["pitch"] / 60, voice["words_per_minute"] / 100, voice["loudness"] / 80])

    alone = [knobs(row) for row in np.eye(6)]
    apart = [np.abs(a - b).max() for i, a in enumerate(alone) for b in alone[:i]]
    assert min(apart) > 0.3


def test_a_plan_becomes_frames_and_sound_of_one_length():
    plan = plan_clip(np.random.default_rng([3, 0]))
    rng = np.random.default_rng(0)
    track = speak_clip(plan, rng)
    frames = draw_frames(plan, track, rng)
    assert len(frames) == int(len(track.samples) / SAMPLE_RATE_HZ * FRAMES_PER_SECOND)
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((SIZE_WH[1], SIZE_WH[0], 3), "uint8")}
    assert np.abs(track.samples).max() <= 1
    assert len(track.starts_s) == len(track.spoken_s) == 4
    assert all(start <= first < last for start, (first, last) in zip(track.starts_s, track.spoken_s, strict=True))
