"""Frames and sound made of numbers, for tests that need no media file."""

from __future__ import annotations

import numpy as np

from taemi_edge.media.hops import Frame, SoundPiece


def frame(time_s: float, value: int = 128, noise: int = 3) -> Frame:
    pixels = np.random.default_rng(round(time_s * 1000)).integers(-noise, noise + 1, (48, 64, 3)) + value
    return Frame(time_s, np.clip(pixels, 0, 255).astype(np.uint8))


def sound(time_s: float, level: float) -> SoundPiece:
    return SoundPiece(time_s, np.full(1600, level, np.float32))
