"""Drawing a face with an expression, for synthetic clips. No picture of a real person is used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.opencv import OpenCV

cv2: Any = OpenCV("drawing a face")
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Expression:
    """What a drawn face shows. Values are in [0, 1] where no other range is given."""

    smile: float = 0.0  # -1 (corners down) to 1
    mouth_open: float = 0.0
    eyes_open: float = 1.0
    brows: float = 0.0  # -1 (frown) to 1 (raised)
    tilt_deg: float = 0.0
    shift_xy: tuple[float, float] = (0.0, 0.0)  # in face widths


@dataclass(frozen=True)
class Look:
    """How the drawn person and the wall look: RGB colours, 0 to 255."""

    skin: tuple[int, int, int] = (222, 177, 148)
    hair: tuple[int, int, int] = (66, 44, 32)
    iris: tuple[int, int, int] = (78, 96, 62)
    shirt: tuple[int, int, int] = (58, 84, 120)
    wall: tuple[int, int, int] = (196, 203, 208)


def draw_face(expression: Expression, look: Look, size_wh: tuple[int, int]) -> Array:
    """Draw a shaded face with head and shoulders, uint8 RGB (H, W, 3). Face detectors find it.

    Example:
        >>> draw_face(Expression(smile=0.8), Look(), (320, 240)).shape
        (240, 320, 3)
    """
    width, height = (side * _SUPERSAMPLING for side in size_wh)
    unit = height * 0.36  # half the height of a head
    centre = np.array([width / 2, height * 0.50])
    head = _bare_head(look, width, height).copy()
    _draw_eyes(head, look, expression, centre, unit)
    _draw_mouth(head, look, expression, centre, unit)
    _lay_over(head, _hair(look, width, height))
    turn = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1] + unit)), expression.tilt_deg, 1.0)
    turn[:, 2] += np.array(expression.shift_xy) * unit * 1.5
    head = cv2.warpAffine(head, turn, (width, height), flags=cv2.INTER_LINEAR)
    backdrop, alpha = _backdrop(look, width, height), head[..., 3:]
    composed = backdrop + (head[..., :3] - backdrop) * alpha
    picture: Array = cv2.resize(composed, size_wh, interpolation=cv2.INTER_AREA).clip(0, 255).astype(np.uint8)
    return picture


def draw_empty_room(look: Look, size_wh: tuple[int, int]) -> Array:
    """Draw the wall without anybody in front of it, uint8 RGB (H, W, 3)."""
    picture: Array = _wall(look, *size_wh).clip(0, 255).astype(np.uint8)
    return picture


@lru_cache(maxsize=8)
def _backdrop(look: Look, width: int, height: int) -> Array:
    """What does not move: wall and body, float32 RGB."""
    unit, centre = height * 0.36, np.array([width / 2, height * 0.50])
    canvas = _wall(look, width, height)
    _draw_body(canvas, look, centre, unit)
    return canvas


@lru_cache(maxsize=8)
def _bare_head(look: Look, width: int, height: int) -> Array:
    """What every expression shares: the head with its nose, float32 RGBA."""
    unit, centre = height * 0.36, np.array([width / 2, height * 0.50])
    head = np.zeros((height, width, 4), np.float32)
    _draw_head(head, look, centre, unit)
    _draw_nose(head, look, centre, unit)
    return head


@lru_cache(maxsize=8)
def _hair(look: Look, width: int, height: int) -> Array:
    hair = np.zeros((height, width, 4), np.float32)
    _draw_hair(hair, look, np.array([width / 2, height * 0.50]), height * 0.36)
    return hair


def _lay_over(canvas: Array, layer: Array) -> None:
    """Put one RGBA layer over another, in place, where it shows anything."""
    x, y, width, height = cv2.boundingRect((layer[..., 3] > 0).astype(np.uint8))
    area = (slice(y, y + height), slice(x, x + width))
    alpha = layer[area][..., 3:]
    canvas[area][..., :3] += (layer[area][..., :3] - canvas[area][..., :3]) * alpha
    canvas[area][..., 3:] += alpha * (1 - canvas[area][..., 3:])


def _wall(look: Look, width: int, height: int) -> Array:
    fade = np.linspace(1.06, 0.86, height, dtype=np.float32)[:, None, None]
    side = np.linspace(1.04, 0.94, width, dtype=np.float32)[None, :, None]
    wall: Array = np.asarray(look.wall, np.float32) * fade * side
    return wall


def _ellipse(canvas: Array, centre: Array, axes: tuple[float, float], colour: Any, soft: float) -> None:
    """Blend a filled ellipse with a soft rim into a canvas of 3 channels, or of 4 with its alpha."""
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), np.float32)
    where = (round(float(centre[0]) * 16), round(float(centre[1]) * 16))
    size = (max(1, round(axes[0] * 16)), max(1, round(axes[1] * 16)))
    cv2.ellipse(mask, where, size, 0, 0, 360, 1.0, -1, cv2.LINE_8, 4)  # 4 binary digits after the point
    _blend(canvas, mask, colour, soft)


def _polygon(canvas: Array, points: Array, colour: Any, soft: float) -> None:
    mask = np.zeros(canvas.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
    _blend(canvas, mask, colour, soft)


def _blend(
    canvas: Array, mask: Array, colour: Any, soft: float, strength: float = 1.0, *, inside: bool = False
) -> None:
    """Blend a colour in where the mask is, blurred by `soft` pixels; only the mask's surroundings are touched.

    A canvas of 4 channels keeps its alpha in the last; `inside` tints what is already drawn without widening it.
    """
    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    pad = int(4 * soft) + 2  # where OpenCV cuts a Gaussian off
    area = (slice(max(0, y - pad), y + height + pad), slice(max(0, x - pad), x + width + pad))
    weight = cv2.GaussianBlur(mask[area], (0, 0), soft) if soft > 0 else mask[area]
    weight = (weight * strength)[..., None]
    if inside:
        weight = weight * canvas[area][..., 3:]
    canvas[area][..., :3] += (np.asarray(colour, np.float32) - canvas[area][..., :3]) * weight
    if canvas.shape[2] == 4 and not inside:
        canvas[area][..., 3:] += weight * (1 - canvas[area][..., 3:])


def _shade(colour: tuple[int, int, int], factor: float) -> Array:
    return np.asarray(colour, np.float32) * factor


def _draw_body(canvas: Array, look: Look, centre: Array, unit: float) -> None:
    _ellipse(canvas, centre + [0, unit * 1.95], (unit * 1.35, unit * 0.85), _shade(look.shirt, 1.0), unit * 0.02)
    _ellipse(canvas, centre + [0, unit * 1.02], (unit * 0.34, unit * 0.42), _shade(look.skin, 0.80), unit * 0.03)


def _draw_head(head: Array, look: Look, centre: Array, unit: float) -> None:
    for side in (-1, 1):
        _ellipse(
            head, centre + [side * unit * 0.74, unit * 0.06], (unit * 0.10, unit * 0.2), _shade(look.skin, 0.86), 1.0
        )
    _ellipse(head, centre, (unit * 0.73, unit * 0.98), _shade(look.skin, 0.92), 1.5)
    shading = np.zeros(head.shape[:2], np.float32)
    spot = (round(centre[0] - unit * 0.12), round(centre[1] - unit * 0.12))
    cv2.ellipse(shading, spot, (round(unit * 0.46), round(unit * 0.66)), 0, 0, 360, 1.0, -1)
    _blend(head, shading, _shade(look.skin, 1.08), unit * 0.2, 0.8, inside=True)
    for side in (-1, 1):
        cheek = np.zeros(head.shape[:2], np.float32)
        at = (round(centre[0] + side * unit * 0.42), round(centre[1] + unit * 0.32))
        cv2.circle(cheek, at, round(unit * 0.15), 1.0, -1)
        _blend(head, cheek, np.array([214, 132, 116]), unit * 0.08, 0.35, inside=True)


def _draw_eyes(head: Array, look: Look, expression: Expression, centre: Array, unit: float) -> None:
    opening = unit * (0.015 + 0.085 * expression.eyes_open)
    for side in (-1, 1):
        eye = centre + [side * unit * 0.30, -unit * 0.10]
        socket = np.zeros(head.shape[:2], np.float32)
        cv2.ellipse(
            socket, (round(eye[0]), round(eye[1])), (round(unit * 0.22), round(unit * 0.15)), 0, 0, 360, 1.0, -1
        )
        _blend(head, socket, _shade(look.skin, 0.66), unit * 0.06, 0.55, inside=True)
        _ellipse(head, eye, (unit * 0.155, opening + unit * 0.014), _shade(look.skin, 0.35), 1.0)
        _ellipse(head, eye + [0, unit * 0.008], (unit * 0.145, opening), (240, 238, 234), 0.8)
        if expression.eyes_open > 0.1:
            _ellipse(head, eye, (unit * 0.075, min(opening, unit * 0.075)), look.iris, 0.8)
            _ellipse(head, eye, (unit * 0.035, min(opening, unit * 0.035)), (18, 14, 12), 0.5)
            _ellipse(head, eye + [-unit * 0.02, -unit * 0.025], (unit * 0.012, unit * 0.012), (255, 255, 255), 0.4)
        lift = unit * (0.25 + 0.07 * expression.brows)
        inner = unit * 0.05 * min(0.0, expression.brows)
        brow = np.array([[-0.17, 0.03], [0.0, -0.025], [0.16, 0.0], [0.16, 0.045], [0.0, 0.02], [-0.17, 0.055]]) * unit
        brow[:, 0] *= side
        brow[:2, 1] -= inner * 1.0
        _polygon(head, eye + [0, -lift] + brow * [1, 1], _shade(look.hair, 0.9), 1.2)


def _draw_nose(head: Array, look: Look, centre: Array, unit: float) -> None:
    bridge = np.array([[-0.05, -0.06], [0.02, -0.06], [0.05, 0.22], [-0.09, 0.24]]) * unit + centre
    mask = np.zeros(head.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(bridge + [unit * 0.07, 0]).astype(np.int32)], 1.0)
    _blend(head, mask, _shade(look.skin, 0.74), unit * 0.04, 0.5, inside=True)
    _ellipse(head, centre + [0, unit * 0.235], (unit * 0.13, unit * 0.075), _shade(look.skin, 0.95), unit * 0.03)
    for side in (-1, 1):
        nostril = centre + [side * unit * 0.065, unit * 0.285]
        _ellipse(head, nostril, (unit * 0.034, unit * 0.018), _shade(look.skin, 0.42), 1.0)


def _draw_mouth(head: Array, look: Look, expression: Expression, centre: Array, unit: float) -> None:
    mouth = centre + [0, unit * 0.52]
    half = unit * (0.23 + 0.06 * max(0.0, expression.smile))
    x = np.linspace(-1, 1, 25)
    corners = -unit * 0.11 * expression.smile * x**2
    open_by = unit * 0.16 * expression.mouth_open
    bow = unit * (0.045 * (1 - x**2) + 0.012 * np.cos(2 * np.pi * x) * (1 - x**2))

    def band(upper: Array, lower: Array) -> Array:
        top = np.stack([x * half, upper], axis=1)
        bottom = np.stack([x[::-1] * half, lower[::-1]], axis=1)
        outline: Array = np.concatenate([top, bottom]) + mouth
        return outline

    gap = open_by * (1 - x**2)
    lip = _shade((178, 92, 88), 1.0)
    _polygon(head, band(corners - bow - gap * 0.35, corners + bow * 1.35 + gap), lip, 1.2)
    if expression.mouth_open > 0.05:
        _polygon(head, band(corners - gap * 0.3, corners + gap * 0.8), (58, 22, 24), 1.0)
        _polygon(head, band(corners - gap * 0.3, corners - gap * 0.02), (236, 232, 224), 0.8)
    else:
        _polygon(head, band(corners - unit * 0.008, corners + unit * 0.008), (96, 44, 44), 0.8)


def _draw_hair(head: Array, look: Look, centre: Array, unit: float) -> None:
    outer = [(np.cos(a) * 0.80, -np.sin(a) * 1.08 - 0.02) for a in np.linspace(-0.12, np.pi + 0.12, 60)]
    inner = [(np.cos(a) * 0.64, -np.sin(a) * 0.58 - 0.08) for a in np.linspace(np.pi + 0.02, -0.02, 60)]
    _polygon(head, np.array(outer + inner) * unit + centre, _shade(look.hair, 1.0), 2.0)
    shine = np.zeros(head.shape[:2], np.float32)
    at = (round(centre[0] - unit * 0.2), round(centre[1] - unit * 0.86))
    cv2.ellipse(shine, at, (round(unit * 0.3), round(unit * 0.07)), -10, 0, 360, 1.0, -1)
    _blend(head, shine, _shade(look.hair, 1.9), unit * 0.05, 0.5, inside=True)
