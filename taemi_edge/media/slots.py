"""Memory of a device's own that inputs are written straight into, so that nobody copies them on their way to it.

Whoever makes an input, such as a crop, asks a pool for a slot and writes into its array. Where there is no slot, or no
pool, the input is an array of its own, and the executor copies it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
