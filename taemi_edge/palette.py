"""As many colours as a picture has curves: different from each other, also for colour-blind readers.

A colour is measured in CIELAB, where equal distances look equal: as it is, and as people without one of the three kinds
of cones see it (G. Machado et al., "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009).
The distance of two colours is the smallest of these four. Those who see all colours are to see them easily, so for them
a distance counts half; the third kind of colour blindness is a hundred times rarer than the others, so there it counts
half as much again. The colours of a picture are chosen so that the two that are nearest are as far apart as can be, out
of those that stand out from the background.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]

#: Backgrounds: of plots and of the light page, and of the dark page and of annotated video.
LIGHT, DARK = "#ffffff", "#1f2227"
#: A line must have this contrast with its background (WCAG 2.2, success criterion 1.4.11).
LEAST_CONTRAST = 3.0
#: More contrast, and more colourfulness in CIELAB, than this are left to text and to warnings.
_MOST_CONTRAST, _MOST_CHROMA = 12.0, 90.0
#: Levels of red, green and blue among which colours are chosen; finer ones where there are more curves than colours.
_LEVELS, _MANY_LEVELS = 16, 96
#: How often colours change their place for a better one, where there are no more than so many.
_MOST_ROUNDS, _MOST_IMPROVED = 30, 64
#: From linear red, green and blue to those that a person without one kind of cones sees alike.
_VISIONS = (
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
)
#: What a distance counts for in each of them.
_WEIGHTS = np.array((0.5, 1.0, 1.0, 1.5))
_XYZ = np.array(((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.072175), (0.0193339, 0.119192, 0.9503041)))
_WHITE = np.array((0.95047, 1.0, 1.08883))


@cache
def series_colours(count: int, background: str = LIGHT) -> tuple[str, ...]:
    """Give so many colours, as #rrggbb, no two alike.

    >>> series_colours(3) == series_colours(3), len(set(series_colours(40)))
    (True, 40)
    """
    found = _candidates(background, _LEVELS)
    if count > len(found):  # more than anybody tells apart: they differ
        found = _candidates(background, _MANY_LEVELS)
        return tuple(_written(found[np.linspace(0, len(found) - 1, count).astype(int)]))
    return tuple(_written(found[_spread(seen_in_lab(found), count)])) if count else ()


def distance(first: str, second: str) -> float:
    """How different two colours look, in units of CIELAB (CIE 1976), for whoever tells them apart worst.

    >>> distance("#000000", "#000000"), round(distance("#000000", "#ffffff"))
    (0.0, 50)
    """
    lab = seen_in_lab(np.array([_numbers(first), _numbers(second)]))
    return float((np.linalg.norm(lab[:, 0] - lab[:, 1], axis=-1) * _WEIGHTS).min())


def contrast(colour: str, background: str) -> float:
    """The contrast of two colours as WCAG 2.2 defines it, from 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    light, dark = sorted((_luminance(_numbers(colour)), _luminance(_numbers(background))), reverse=True)
    return float((light + 0.05) / (dark + 0.05))


def seen_in_lab(rgb: _Array) -> _Array:
    """Colours (N, 3) from 0 to 1 as four kinds of people see them, in CIELAB (4, N, 3)."""
    seen = np.clip(np.einsum("vij,nj->vni", np.array(_VISIONS), _linear(rgb)), 0.0, 1.0)
    xyz = seen @ _XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def _candidates(background: str, levels: int) -> _Array:
    """The colours of a grid that have enough contrast with the background, (N, 3)."""
    steps = np.linspace(0.0, 1.0, levels)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = np.round(grid * 255) / 255
    luminance, ground = _luminance(grid), _luminance(_numbers(background))
    high, low = np.maximum(luminance, ground), np.minimum(luminance, ground)
    contrasts = (high + 0.05) / (low + 0.05)
    lab = seen_in_lab(grid)[0]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    fits = (contrasts >= LEAST_CONTRAST) & (contrasts <= _MOST_CONTRAST) & (chroma <= _MOST_CHROMA)
    chosen: _Array = grid[fits]
    return chosen


def _spread(lab: _Array, count: int) -> list[int]:
    """The numbers of so many colours that are far from each other: each next one the furthest, then improved."""

    def from_one(index: int) -> _Array:
        apart = np.linalg.norm(lab - lab[:, index : index + 1], axis=-1)
        return np.asarray((apart * _WEIGHTS[:, None]).min(axis=0))

    first = int(np.argmax(np.hypot(lab[0, :, 1], lab[0, :, 2])))  # the most colourful
    chosen, rows = [first], [from_one(first)]
    nearest = rows[0]
    while len(chosen) < count:
        chosen.append(int(np.argmax(nearest)))
        rows.append(from_one(chosen[-1]))
        nearest = np.minimum(nearest, rows[-1])
    for _ in range(_MOST_ROUNDS if count <= _MOST_IMPROVED else 0):
        moved = False
        for at in range(count if count > 1 else 0):
            others = np.min(rows[:at] + rows[at + 1 :], axis=0)
            best = int(np.argmax(others))
            if others[best] > others[chosen[at]] + 1e-9:
                chosen[at], rows[at], moved = best, from_one(best), True
        if not moved:
            break
    return chosen


def _numbers(colour: str) -> _Array:
    return np.frombuffer(bytes.fromhex(colour.removeprefix("#")), np.uint8) / 255.0


def _written(rgb: _Array) -> list[str]:
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.round(rgb * 255).astype(int).tolist()]


def _linear(rgb: _Array) -> _Array:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _luminance(rgb: _Array) -> Any:
    return _linear(rgb) @ _XYZ[1]
