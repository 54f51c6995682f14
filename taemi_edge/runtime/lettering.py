"""Writes text into pictures, and shortens what does not fit.

The letters are OpenCV's own, so no font has to be installed; Cyrillic, Greek, Chinese and Japanese are among them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from taemi_edge.bundle.values import Array
from taemi_edge.media.opencv import OpenCV

cv2: Any = OpenCV("an annotated video")
Colour = tuple[int, int, int]
_FONT, _WEIGHT = "sans", 400


def write(canvas: Array, text: str, origin_xy: tuple[int, int], colour: Colour, size_px: int) -> None:
    """Write a text into a picture, RGB uint8 (H, W, 3); `origin_xy` is the left end of its baseline."""
    cv2.putText(canvas, text, origin_xy, colour, cv2.FontFace(_FONT), size_px, _WEIGHT)


@lru_cache(maxsize=1024)
def text_width(text: str, size_px: int) -> int:
    """How many pixels wide a text is."""
    return int(cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(_FONT), size_px, _WEIGHT)[2])


def beginning(text: str, width_px: int, size_px: int) -> str:
    """As much of a text's beginning as fits, with an ellipsis where it does not fit as a whole.

    >>> beginning("no row for 1.2 s, nor any word", 120, 15)
    'no row for 1.2…'
    """
    return _longest(text, width_px, size_px, lambda count: text[:count].rstrip() + "…")


def ending(text: str, width_px: int, size_px: int) -> str:
    """As much of a text's end as fits, as captions roll."""
    return _longest(text, width_px, size_px, lambda count: "…" + text[len(text) - count :].lstrip())


def both_ends(text: str, width_px: int, size_px: int) -> str:
    """As much of a text as fits, without its middle: names often differ only at their ends.

    >>> both_ends("left_shoulder_angular_velocity_x", 120, 15)
    'left_sh…ocity_x'
    """
    return _longest(text, width_px, size_px, lambda n: text[: n - n // 2] + "…" + text[len(text) - n // 2 :])


def _longest(text: str, width_px: int, size_px: int, cut: Callable[[int], str]) -> str:
    """The text, or the longest cut of it that fits, found by halving; `cut` keeps a number of characters."""
    if text_width(text, size_px) <= width_px:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(cut(middle), size_px) <= width_px:
            fits = middle
        else:
            too_long = middle
    return cut(fits)
