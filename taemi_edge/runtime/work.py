"""The interface between a source's window and whatever runs its model.

A window makes `Work`, which says what to encode and to fuse; an executor makes a `WorkResult` of it. `Executor` is the
protocol; `host_executor` and `tensorrt.executor` implement it.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, overload

import msgspec
import numpy as np

from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import BackendError
from taemi_edge.media.slots import NO_SLOT, SlotPool
from taemi_edge.runtime.rings import Span, StepCounts

#: How many numbers of `Items.numbers` describe one input.
ITEM_NUMBERS = 6


class Item(msgspec.Struct, frozen=True, eq=False):
    """One row of a batch of an encoder.

    Attributes:
        feeds: the encoder's inputs by name, without the batch axis. Of a text these are its `ids` alone: whoever runs
            the encoder pads texts and makes their masks.
        rows: the rows of the stream's ring for the steps that the encoder gives, after those that are skipped. No two
            items of a work share a row.
        skipped: how many steps at the beginning are not kept.
        slot: the number of the slot that the input lies in, if it lies in one; its feed is then a view of the slot.
    """

    feeds: Mapping[str, Array]
    rows: Span
    skipped: int = 0
    slot: int = NO_SLOT


class Items(Sequence[Item]):
    """The inputs that a hop of one source brings to an encoder, in the order of time: one object for all of them.

    Each of them is an `Item`, which is made when it is asked for. A device need not ask: `numbers` has what it reads.

    Args:
        name: of the encoder's input.
        values: the inputs, without the batch axis.
        numbers: six for each input: its slot, its source, the first of its rows, how many steps are skipped, how many
            rows it has, and the length of a text, which is 0 of all else.

    Attributes:
        in_slots: whether every input lies in a slot.

    Example:
        >>> [item] = Items("ids", [np.array([5, 6], np.int32)], [NO_SLOT, 0, 3, 0, 2, 2])
        >>> item.rows, item.feeds["ids"].tolist()
        (Span(start=3, count=2), [5, 6])
    """

    __slots__ = ("in_slots", "name", "numbers", "values")

    def __init__(self, name: str, values: Sequence[Array], numbers: Sequence[int]) -> None:
        self.name, self.values = name, values
        self.numbers = array("i", numbers)
        self.in_slots = NO_SLOT not in numbers[::ITEM_NUMBERS]

    @classmethod
    def of(cls, source: int, items: Sequence[Item], name: str, is_text: bool = False) -> Items:
        """The same inputs of a source as one object."""
        numbers: list[int] = []
        for item in items:
            length = len(item.feeds[name]) if is_text else 0
            numbers += (item.slot, source, item.rows.start, item.skipped, item.rows.count, length)
        return cls(name, [item.feeds[name] for item in items], numbers)

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        value, at = self.values[index], range(len(self))[index] * ITEM_NUMBERS
        slot, _, start, skipped, count, _ = self.numbers[at : at + ITEM_NUMBERS]
        return Item({self.name: value}, Span(start, count), skipped, slot)


class Work(msgspec.Struct, frozen=True, eq=False):
    """What one source needs from the executor at one hop.

    Attributes:
        source: the source's number.
        items: what is to be encoded, by stream, in the order of time; as `Items` it costs a device the least.
        window: the rows of the window, by stream; for a stream that is not in it, the head reads what stands for it.
        fuse: whether a prediction is wanted, or the encoders alone.
    """

    source: int = 0
    items: Mapping[str, Sequence[Item]] = msgspec.field(default_factory=dict)
    window: Mapping[str, Span] = msgspec.field(default_factory=dict)
    fuse: bool = True

    @property
    def parts(self) -> set[str]:
        """The parts that run for this work."""
        return {stream for stream, items in self.items.items() if items} | ({HEAD} if self.fuse else set())


class WorkResult(NamedTuple):
    """The result of a `Work`.

    Attributes:
        outputs: what the head gave for each group of outputs, float32 (n,) by its name; None where no prediction was
            wanted, or a fault was found.
        part_ms: how long the call of each part took that this work shared, in milliseconds; None where the executor
            did not time this hop.
        faults: streams whose new features held a NaN or an infinity; those features were not kept.
    """

    outputs: Mapping[str, Array] | None
    part_ms: Mapping[str, float] | None
    faults: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layout:
    """What an executor is opened for.

    Attributes:
        sources: how many there are.
        window_s: how far back a prediction looks, in seconds.
        hop_s: how often a prediction is made, in seconds.
    """

    sources: int
    window_s: float
    hop_s: float


class Executor(Protocol):
    """Runs the works of one bundle; all calls come from one thread."""

    @property
    def steps(self) -> Mapping[str, StepCounts]:
        """How many steps the encoder of each stream gives for an input; texts are not among them."""
        ...

    @property
    def capacity(self) -> Mapping[str, int]:
        """How many rows each source has in the ring of a stream."""
        ...

    @property
    def backend(self) -> str:
        """Where the last call ran: "cpu", "cuda", "tensorrt" or "tensorrt+graph"."""
        ...

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        """Run works of different sources together.

        Raises:
            DeviceLostError: the device is gone, and all features with it.
            BackendError: feeds that do not fit, or outputs that are NaN.
        """
        ...

    def features(self, source: int, stream: str, rows: Span) -> Array:
        """A copy of features, float32 (T, D), from the rows of a source's ring."""
        ...

    def slots(self, stream: str) -> SlotPool | None:
        """Where the inputs of a stream may be written so that nobody copies them; None where inputs are copied."""
        ...

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU; None where none is used."""
        ...

    def close(self) -> None:
        """Free the device."""


class Stopwatch:
    """Adds up milliseconds under names.

    Attributes:
        total_ms: the sums by name.
        untimed: names of which something took time that nobody measured.

    Example:
        >>> watch = Stopwatch()
        >>> watch.add({"vision": 1.5})
        >>> watch.add({"vision": 0.5, "fusion": 1.0})
        >>> watch.total_ms
        {'vision': 2.0, 'fusion': 1.0}
    """

    def __init__(self) -> None:
        self.total_ms: dict[str, float] = {}
        self.untimed: set[str] = set()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count what the `with` block takes."""
        start = time.perf_counter()
        yield
        self.add({name: (time.perf_counter() - start) * 1e3})

    def add(self, parts_ms: Mapping[str, float]) -> None:
        """Add milliseconds that were measured elsewhere."""
        for name, ms in parts_ms.items():
            self.total_ms[name] = self.total_ms.get(name, 0.0) + ms

    def add_parts(self, ran: Collection[str], part_ms: Mapping[str, float] | None) -> None:
        """Add what a work's own parts took.

        Args:
            ran: the parts that ran for the work.
            part_ms: milliseconds of all parts that ran; None where they were not measured.
        """
        if part_ms is None:
            self.untimed.update(ran)
        else:
            self.add({part: ms for part, ms in part_ms.items() if part in ran})

    def ms(self, name: str) -> float | None:
        """The milliseconds of a name, 0 where nothing ran under it; None where they are not known."""
        return None if name in self.untimed else round(self.total_ms.get(name, 0.0), 3)


def require_finite(outputs: Mapping[str, Array]) -> None:
    """Refuse outputs of the head that are no numbers.

    Raises:
        BackendError: one is NaN or infinite although all features were finite.
    """
    if not all(np.isfinite(values).all() for values in outputs.values()):
        raise BackendError(
            "fusion gave NaN for features that are numbers: check the bundle with `taemi-edge parity`, and build or "
            "export it anew"
        )


def merged(first: WorkResult, then: WorkResult) -> WorkResult:
    """Join the results of two calls for one hop: the outputs of the later one, the times of both."""
    part_ms = None
    if first.part_ms is not None and then.part_ms is not None:
        watch = Stopwatch()
        watch.add(first.part_ms)
        watch.add(then.part_ms)
        part_ms = watch.total_ms
    return then._replace(part_ms=part_ms, faults=first.faults | then.faults)
