"""Other sizes of pictures: by OpenCV where it is installed, else the same in numpy.

Shrinking averages over areas (OpenCV's INTER_AREA) and enlarging goes between neighbours (INTER_LINEAR). The functions
in numpy count as OpenCV does, with its coefficients and in its order of sums, so that a model reads the same pixels
either way. They take two to ten times as long.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.opencv import opencv_if_installed

#: The bits after the point of a coefficient between neighbours.
_BITS = 11
#: For each wanted pixel: its two neighbours, and the shares of these.
_Pairs = tuple[tuple[Array, Array], tuple[Array, Array]]


def resized(image: Array, size_wh: tuple[int, int], *, shrinks: bool, into: Array | None = None) -> Array:
    """A picture at another size, written into the given memory where there is any.

    Args:
        image: uint8 (H, W, channels).
        size_wh: the wanted width and height.
        shrinks: average over areas, and not between neighbours.
        into: memory for the result, uint8 (height, width, channels).

    Returns:
        uint8 (height, width, channels).

    Example:
        >>> resized(np.full((4, 6, 3), 7, np.uint8), (3, 2), shrinks=True).shape
        (2, 3, 3)
    """
    cv2 = opencv_if_installed()
    if cv2 is not None:
        by = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        found: Array = cv2.resize(image, size_wh, dst=into, interpolation=by)
        return found
    found = (shrunk if shrinks else enlarged)(image, size_wh)
    if into is None:
        return found
    into[...] = found
    return into


def shrunk(image: Array, size_wh: tuple[int, int]) -> Array:
    """A smaller picture, as `cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)` gives it.

    Args:
        image: uint8 (H, W, channels). Where it becomes larger in one direction, it is averaged in none.
        size_wh: the wanted width and height.

    Returns:
        uint8 (height, width, channels).

    Example:
        >>> shrunk(np.array([[[0], [100], [10], [20]]], np.uint8), (2, 1)).tolist()
        [[[50], [15]]]
    """
    height, width = image.shape[:2]
    if size_wh[0] > width or size_wh[1] > height:
        return _between_neighbours(
            image, _area_pairs(width, size_wh[0], columns=True), _area_pairs(height, size_wh[1], columns=False)
        )
    if width % size_wh[0] == 0 and height % size_wh[1] == 0:
        return _whole_areas(image, size_wh)
    rows = np.zeros((height, size_wh[0], image.shape[2]), np.float32)
    for at, share in _areas(width, size_wh[0]):
        rows += image.take(at, axis=1) * share[:, None]
    sums = np.zeros((size_wh[1], *rows.shape[1:]), np.float32)
    for at, share in _areas(height, size_wh[1]):
        sums += rows.take(at, axis=0) * share[:, None, None]
    return np.rint(sums, out=sums).astype(np.uint8)


def enlarged(image: Array, size_wh: tuple[int, int]) -> Array:
    """A larger picture, as `cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)` gives it.

    Args:
        image: uint8 (H, W, channels).
        size_wh: the wanted width and height.

    Returns:
        uint8 (height, width, channels).

    Example:
        >>> enlarged(np.array([[[0], [100]]], np.uint8), (4, 1)).tolist()
        [[[0], [25], [75], [100]]]
    """
    height, width = image.shape[:2]
    return _between_neighbours(
        image, _linear_pairs(width, size_wh[0], columns=True), _linear_pairs(height, size_wh[1], columns=False)
    )


def _whole_areas(image: Array, size_wh: tuple[int, int]) -> Array:
    """Averages over areas of whole pixels."""
    height, width, channels = image.shape
    down, across = height // size_wh[1], width // size_wh[0]
    sums = np.zeros((size_wh[1], size_wh[0], channels), np.int32)
    for y in range(down):
        for x in range(across):
            sums += image[y::down, x::across]
    if (down, across) == (2, 2):  # OpenCV adds a half here, and elsewhere goes to the nearest even number
        averages: Array = (sums + 2) >> 2
    else:
        averages = np.rint(sums.astype(np.float32) * np.float32(1 / (down * across)))
    return averages.astype(np.uint8)


@lru_cache(maxsize=64)
def _areas(length: int, wanted: int) -> list[tuple[Array, Array]]:
    """Which pixels of a line count for each wanted one, and by what share: the first of each, the second, ...."""
    scale = length / wanted
    columns: list[list[tuple[int, float]]] = []
    for index in range(wanted):
        begin, end = index * scale, min((index + 1) * scale, length)
        cell = min(scale, length - begin)
        first, last = int(np.ceil(begin)), min(int(np.floor(end)), length - 1)
        first = min(first, last)
        column = [(first - 1, (first - begin) / cell)] if first - begin > 1e-3 else []
        column += [(pixel, 1.0 / cell) for pixel in range(first, last)]
        if end - last > 1e-3:
            column.append((last, min(min(end - last, 1.0), cell) / cell))
        columns.append(column)
    most = max(map(len, columns))
    padded = np.array([column + [(column[-1][0], 0.0)] * (most - len(column)) for column in columns])
    return [(padded[:, tap, 0].astype(np.intp), padded[:, tap, 1].astype(np.float32)) for tap in range(most)]


def _between_neighbours(image: Array, across: _Pairs, down: _Pairs) -> Array:
    """Each wanted pixel lies between two of a row and two rows, in whole numbers as OpenCV counts."""
    (left, right), (of_left, of_right) = across
    rows = image.take(left, axis=1).astype(np.int32) * of_left[:, None]
    rows += image.take(right, axis=1) * of_right[:, None]
    (above, below), (of_above, of_below) = down
    upper, lower = rows.take(above, axis=0) >> 4, rows.take(below, axis=0) >> 4
    upper *= of_above[:, None, None]
    lower *= of_below[:, None, None]
    sums = ((upper >> 16) + (lower >> 16) + 2) >> 2
    levels: Array = sums.clip(0, 255).astype(np.uint8)
    return levels


@lru_cache(maxsize=64)
def _linear_pairs(length: int, wanted: int, *, columns: bool) -> _Pairs:
    """The two neighbours of each wanted pixel and their shares in 1/2048; beyond the border lies its last pixel."""
    place = ((np.arange(wanted) + 0.5) * (1 / (wanted / length)) - 0.5).astype(np.float32)
    return _inside(np.floor(place), place - np.floor(place), length, columns)


@lru_cache(maxsize=64)
def _area_pairs(length: int, wanted: int, *, columns: bool) -> _Pairs:
    """As `_linear_pairs`, where each wanted pixel is mostly its nearest one."""
    index, shrinks_by = np.arange(wanted), wanted / length
    left = np.floor(index * (1 / shrinks_by))
    share = ((index + 1) - (left + 1) * shrinks_by).astype(np.float32)
    return _inside(left, np.where(share <= 0, np.float32(0), share - np.floor(share)), length, columns)


def _inside(left: Array, share: Array, length: int, columns: bool) -> _Pairs:
    if columns:  # of rows, both neighbours are the last one there
        share = np.where((left < 0) | (left >= length - 1), np.float32(0), share)
    shares = [np.rint(part * np.float32(1 << _BITS)).astype(np.int32) for part in (np.float32(1) - share, share)]
    at = left.astype(np.intp)
    return (at.clip(0, length - 1), (at + 1).clip(0, length - 1)), (shares[0], shares[1])
