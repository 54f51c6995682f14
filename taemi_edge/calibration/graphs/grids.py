"""The numbers that each low precision can write, and how values are rounded to them.

A `Grid` is the format of one quantised precision: symmetric INT8, whose steps are all alike, or FP8 in the format E4M3
(one sign bit, four of exponent, three of mantissa; Micikevicius et al. 2022, arXiv 2209.05433), whose steps grow with
the magnitude. BF16 needs no scale: it is FP32 without its last 16 bits, rounded to the nearest even number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.precisions import QuantisedPrecision
from taemi_edge.bundle.values import Array

#: FP16's smallest scales are rough, and smaller ones cannot be written.
MIN_SCALE = 2.0**-20
#: E4M3 has no infinity: its largest number is 1.75 x 2^8. Its smallest normal number is 2^-6.
E4M3_MAX = 448.0
_E4M3_LEAST_EXPONENT = -5  # of 2^-6 as frexp gives it: .5 x 2^-5
_E4M3_BITS = 4  # three of mantissa, and the leading one


@dataclass(frozen=True)
class Grid:
    """The numbers of one quantised precision, before they are multiplied by a scale.

    Attributes:
        largest: the magnitude that a range's end becomes.
        opset: the first opset whose QuantizeLinear writes it.
        round: rounds values to the nearest number of the grid; what lies beyond saturates, NaN stays NaN.
        levels: of how many equal steps up to `largest`, which number of the grid each of them is nearest to: (steps,)
            integers from 0 that do not fall.
    """

    largest: float
    opset: int
    round: Callable[[Array], Array]
    levels: Callable[[int], Array]

    def scale(self, amax: float) -> float:
        """Give the scale by which the magnitude `amax` becomes the largest number."""
        return max(amax / self.largest, MIN_SCALE)


def round_to_int8(values: Array) -> Array:
    """Round to -128 to 127.

    >>> round_to_int8(np.array([0.4, 0.6, 500.0])).tolist()
    [0.0, 1.0, 127.0]
    """
    rounded: Array = np.clip(np.rint(values), -128, 127)
    return rounded


def round_to_e4m3(values: Array) -> Array:
    """Round to FP8 E4M3 as ONNX's QuantizeLinear does: to the nearest, ties to even; beyond 448 is 448, NaN is NaN.

    >>> round_to_e4m3(np.array([1.0, 1.06, 17.0, 1e6, 0.001])).tolist()
    [1.0, 1.0, 16.0, 448.0, 0.001953125]
    """
    inside = np.clip(values, -E4M3_MAX, E4M3_MAX)
    _, exponents = np.frexp(inside)
    steps = np.ldexp(np.float32(1), np.maximum(exponents, _E4M3_LEAST_EXPONENT) - _E4M3_BITS)
    rounded: Array = np.rint(inside / steps) * steps
    return rounded.astype(values.dtype, copy=False)


def _int8_levels(steps: int) -> Array:
    return np.arange(steps) * 128 // steps


def _e4m3_levels(steps: int) -> Array:
    middles = (np.arange(steps) + 0.5) * E4M3_MAX / steps
    return np.unique(round_to_e4m3(middles), return_inverse=True)[1]


GRIDS: Mapping[QuantisedPrecision, Grid] = {
    "int8": Grid(largest=127.0, opset=10, round=round_to_int8, levels=_int8_levels),
    "fp8": Grid(largest=E4M3_MAX, opset=19, round=round_to_e4m3, levels=_e4m3_levels),
}


def bf16_bits(values: Array) -> Array:
    """Give the 16 bits of each value in BF16, rounded to the nearest, ties to even; NaN stays NaN.

    >>> [hex(bits) for bits in bf16_bits(np.array([1.0, -2.0], np.float32))]
    ['0x3f80', '0xc000']
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)


def from_bf16_bits(bits: Array) -> Array:
    """Give the values, float32, that 16 bits each have in BF16.

    >>> from_bf16_bits(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    values: Array = (np.asarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return values
