"""A pool of slots in ordinary memory, which counts those that are free."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np

from taemi_edge.media.slots import Slot

#: What a free slot is filled with: no input may depend on it.
GARBAGE = 0xA5


class CountedSlots:
    """Implements `taemi_edge.media.slots.SlotPool`.

    Args:
        shape: of the longest input.
        dtype: of the inputs.
        count: how many slots there are.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, count: int = 64) -> None:
        self.count, self._shape, self._dtype = count, shape, np.dtype(dtype)
        size = int(np.prod(shape)) * self._dtype.itemsize
        self._memory = [bytearray(size) for _ in range(count)]
        self._free = deque(range(count))
        #: How often a slot was handed out, and how often there was none.
        self.taken = self.refused = 0

    def take(self) -> Slot | None:
        try:
            number = self._free.popleft()
        except IndexError:
            self.refused += 1
            return None
        self.taken += 1
        self._memory[number][:] = bytes([GARBAGE]) * len(self._memory[number])
        values = np.frombuffer(self._memory[number], self._dtype).reshape(self._shape)
        weakref.finalize(values if values.base is None else _root(values), self._free.append, number)
        return Slot(number, values)

    @property
    def free(self) -> int:
        """How many slots nobody has."""
        return len(self._free)

    def holds(self, number: int, values: np.ndarray) -> bool:
        """Whether an input lies at the beginning of a slot."""
        return values.ctypes.data == np.frombuffer(self._memory[number], np.uint8).ctypes.data


def _root(values: np.ndarray) -> Any:
    """The array that all views of a slot refer to."""
    while isinstance(values.base, np.ndarray):
        values = values.base
    return values
