"""Memory of a device's own that inputs are written straight into, so that nobody copies them on their way to it.

Whoever makes an input, such as a crop, asks a pool for a slot and writes into its array. Where there is no slot, or no
pool, the input is an array of its own, and the executor copies it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from taemi_edge.bundle.values import Array

#: The number of an input that lies in no slot.
NO_SLOT = -1


class Slot(NamedTuple):
    """A place for one input.

    It goes back to its pool by itself when nobody refers to its array any more, nor to a view of it: an input that is
    dropped on its way frees its slot, and one that is still shown somewhere keeps it.

    Attributes:
        number: what the executor calls it.
        array: the input in its longest form; a shorter one lies at the beginning.
    """

    number: int
    array: Array


class SlotPool(Protocol):
    """The slots of one stream, which all sources share."""

    def take(self) -> Slot | None:
        """A free slot, whose content is of no meaning; None where all are in use. Any thread may call it."""
        ...


def new_input(pool: SlotPool | None, shape: tuple[int, ...], dtype: Any) -> Slot:
    """Memory for one input, contiguous and of no meaning yet: the beginning of a slot, or an array of its own.

    Args:
        pool: where to ask for a slot.
        shape: of the input; what does not fit into a slot lies in none.
        dtype: of its values.

    Example:
        >>> new_input(None, (2, 3), np.float32).number == NO_SLOT
        True
    """
    slot = None if pool is None else pool.take()
    if slot is not None and slot.array.dtype == dtype:
        if slot.array.shape == shape:
            return slot
        if slot.array.shape[1:] == shape[1:] and shape[0] <= len(slot.array):
            return Slot(slot.number, slot.array[: shape[0]])
    return Slot(NO_SLOT, np.empty(shape, dtype))
