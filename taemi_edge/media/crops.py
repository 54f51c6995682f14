"""Cuts what a video's encoder reads out of a frame: the square around a face, the centre, or the whole picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.faces import Face
from taemi_edge.media.resizing import resized
from taemi_edge.media.slots import NO_SLOT


def crop_face(
    image: Array, face: Face, size_hw: tuple[int, int], margin: float = 1.3, into: Array | None = None
) -> Array:
    """Cut out the square around a face; it is black where it reaches beyond the picture.

    Args:
        image: RGB, uint8 (H, W, 3).
        face: in pixels of the image.
        size_hw: the height and width of the crop.
        margin: the side of the square, in multiples of the face's longer side.
        into: memory for the crop, uint8 (*size_hw, 3); a new array by default.

    Returns:
        RGB, uint8 (*size_hw, 3).

    Example:
        >>> crop_face(np.zeros((240, 320, 3), np.uint8), Face((100, 60, 180, 160), 0.9), (32, 32)).shape
        (32, 32, 3)
    """
    left, top, side = square_around(face, margin)
    inside = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    above, before = max(0, -top), max(0, -left)
    square = np.zeros((side, side, 3), np.uint8)
    square[above : above + inside.shape[0], before : before + inside.shape[1]] = inside
    shrinks = side > max(size_hw)
    return resized(square, size_hw[::-1], shrinks=shrinks, into=into)


def square_around(face: Face, margin: float = 1.3) -> tuple[int, int, int]:
    """The square that `crop_face` cuts out, in pixels of the image: its left, its top and its side.

    Example:
        >>> square_around(Face((100, 60, 180, 160), 0.9))
        (75, 45, 130)
    """
    x1, y1, x2, y2 = face.box_xyxy
    half = max(x2 - x1, y2 - y1) * margin / 2
    return round((x1 + x2) / 2 - half), round((y1 + y2) / 2 - half), max(1, round(2 * half))


def resize_whole(image: Array, size_hw: tuple[int, int], into: Array | None = None) -> Array:
    """The whole picture at another size, whatever its shape was.

    Args:
        image: RGB, uint8 (H, W, 3).
        size_hw: the wanted height and width.
        into: memory for the result; a new array by default.

    Returns:
        RGB, uint8 (*size_hw, 3).
    """
    shrinks = image.shape[0] > size_hw[0] or image.shape[1] > size_hw[1]
    return resized(np.ascontiguousarray(image), size_hw[::-1], shrinks=shrinks, into=into)


def crop_centre(image: Array, size_hw: tuple[int, int], into: Array | None = None) -> Array:
    """The largest centred rectangle that has the wanted shape, at the wanted size.

    Args:
        image: RGB, uint8 (H, W, 3).
        size_hw: the wanted height and width.
        into: memory for the result; a new array by default.

    Returns:
        RGB, uint8 (*size_hw, 3).

    Example:
        >>> picture = np.zeros((100, 200, 3), np.uint8)
        >>> picture[:, 50:150] = 255                       # the square in the middle is white
        >>> int(crop_centre(picture, (32, 32)).min())
        255
    """
    left, top, width, height = centre_rectangle(image.shape[:2], size_hw)
    return resize_whole(image[top : top + height, left : left + width], size_hw, into)


def centre_rectangle(image_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """The rectangle that `crop_centre` cuts out, in pixels of the image: its left, its top, its width and its height.

    Example:
        >>> centre_rectangle((100, 200), (32, 32))
        (50, 0, 100, 100)
    """
    height, width = image_hw
    scale = min(height / size_hw[0], width / size_hw[1])
    inside_hw = (max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale)))
    return (width - inside_hw[1]) // 2, (height - inside_hw[0]) // 2, inside_hw[1], inside_hw[0]


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """What a video's encoder reads of a frame.

    Attributes:
        time_s: of the frame, in seconds.
        pixels: RGB uint8 (H, W, 3), or the clip of several frames (frames, H, W, 3) that ends with this one; None where
            a face was wanted and none was in view.
        slot: the number of the slot that the pixels lie in.
    """

    time_s: float
    pixels: Array | None
    slot: int = NO_SLOT
