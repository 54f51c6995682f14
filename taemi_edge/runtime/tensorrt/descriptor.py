"""Describes a call to the GPU in a few numbers, which kernels turn into batches, rows of rings, and masks.

For each input of an encoder there are six: the slot that it lies in, its source, the first row of the ring for what
the encoder gives, how many steps are skipped before it, how many rows are kept, and the length of a text. For each
window of each stream there are two: its first row and how many there are, or LOST. What the host does for a hop is to
join these numbers, which were made when the inputs got their rows (`Items.numbers`), and to put them into the memory
that the GPU reads as one piece a stream.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.slots import NO_SLOT
from taemi_edge.runtime.tensorrt.calls import Call, EncoderCase, GraphCase, HeadCase, padded
from taemi_edge.runtime.work import ITEM_NUMBERS, Items, Work

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu
    from taemi_edge.runtime.tensorrt.layout import DeviceLayout
    from taemi_edge.runtime.tensorrt.slots import InputSlots

from taemi_edge.runtime.tensorrt.staging import Packed

#: The number of rows of a window whose stream its source has lost.
LOST = -1
#: The source of a window that pads a batch.
NO_SOURCE = -1
_PADDING = array("i", (NO_SLOT, 0, 0, 0, 0, 0))
#: How many cases are kept by their key; windows of lengths that never settle would make ever more of them.
_MOST_CASES = 4096


class Descriptor:
    """The numbers of a call, in memory that the GPU reads.

    Args:
        mapped: whether the GPU reads the host's own memory; else every call copies.

    Attributes:
        numbers: "STREAM items" (items, 6); "windows" (streams, sources, 2); "sources" of the windows (sources,), where
            the head does not read rings.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout, mapped: bool) -> None:
        shapes: dict[str, tuple[int, ...]] = {
            "windows": (len(layout.streams), layout.sources, 2),
            "sources": (layout.sources,),
        }
        shapes |= {f"{name} items": (layout.most[name], ITEM_NUMBERS) for name in layout.streams}
        self.numbers = Packed(gpu, shapes, mapped)
        for name in layout.streams:
            self.numbers.host[f"{name} items"][:] = _PADDING

    def items(self, stream: str) -> int:
        """Where the GPU reads the items of a stream."""
        return self.numbers.address[f"{stream} items"]

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        self.numbers.close()


class CallWriter:
    """Writes calls into a descriptor, and names the case that the shapes of each make.

    Args:
        descriptor: what is written.
        layout: the sizes of the buffers.
        slots: of each stream, for inputs that must be copied.
    """

    def __init__(self, descriptor: Descriptor, layout: DeviceLayout, slots: dict[str, InputSlots]) -> None:
        self._layout, self._numbers = layout, descriptor.numbers.host
        self._writers = {
            name: _ItemWriter(layout, name, slots[name], self._numbers[f"{name} items"]) for name in layout.streams
        }
        self._windows = self._numbers["windows"].reshape(-1).data
        self._sources = self._numbers["sources"].data
        self._write_head = self._write_rings if layout.reads_rings else self._write_windows
        self._cases: dict[tuple[int, ...], GraphCase] = {}

    def write_hop(self, works: Sequence[Work]) -> tuple[GraphCase, Sequence[Work]] | None:
        """Write all that works ask for as one call.

        Returns:
            The case, and the works that want a prediction; None where one call does not suffice, or none is needed.
        """
        groups = self._layout.groups([work for work in works if work.fuse])
        if len(groups) > 1:
            return None
        key: list[int] = []
        for writer in self._writers.values():
            written = writer.write(works)
            if written is None:
                return None
            key += written
        windows = groups[0] if groups else ()
        return (self._case(key, windows), windows) if windows or any(key) else None

    def write(self, call: Call) -> GraphCase:
        """Write one of the calls that works were divided into."""
        key: list[int] = []
        for name, writer in self._writers.items():
            pairs = call.inputs.get(name, ())
            written = writer.write([Work(source, {name: (item,)}) for source, item in pairs])
            if written is None:
                raise AssertionError(f"{name}: a call was divided into more than its engine takes")
            key += written
        return self._case(key, call.windows)

    def write_warm_up(self) -> None:
        """Write a call that any case may run on: no row is kept, and every mask lets one step count."""
        for name in self._layout.streams:
            self._numbers[f"{name} items"][:] = _PADDING
        self._numbers["windows"][:] = (0, 1)
        self._numbers["sources"].fill(NO_SOURCE)

    def close(self) -> None:
        """Let go of the pinned memory, which its owners free."""
        self._writers.clear()
        self._numbers = {}
        self._windows.release()
        self._sources.release()

    def _write_rings(self, works: Sequence[Work]) -> tuple[int, ...]:
        """Write the window of each source; the key is which streams are live, a bit each."""
        streams, sources = self._layout.streams, self._layout.sources
        values = [0] * (2 * sources * len(streams))
        live = 0
        for work in works:
            at, window, bit = 2 * work.source, work.window, 1
            for name in streams:
                if (span := window.get(name)) is None:
                    values[at + 1] = LOST
                else:
                    values[at], values[at + 1] = span.start, span.count
                    live |= bit
                at += 2 * sources
                bit <<= 1
        self._windows[:] = array("i", values)
        return (live,)

    def _write_windows(self, works: Sequence[Work]) -> tuple[int, ...]:
        """Write one window after the other; the key is how many there are, and the steps of the longest by stream."""
        layout, sources = self._layout, self._layout.sources
        batch = padded(len(works), sources)
        who = [work.source for work in works]
        self._sources[:batch] = array("i", who + [NO_SOURCE] * (batch - len(works)))
        key = [batch]
        for index, name in enumerate(layout.streams):
            spans = [work.window.get(name) for work in works]
            longest = 1
            values: list[int] = []
            stand_in = layout.spec(name).missing.steps
            for span in spans:
                values += (0, LOST) if span is None else (span.start, span.count)
                longest = max(longest, stand_in if span is None else span.count)
            at = 2 * index * sources
            self._windows[at : at + len(values)] = array("i", values)
            key.append(longest)
        return tuple(key)

    def _case(self, key: list[int], windows: Sequence[Work]) -> GraphCase:
        """Write windows, and find the case of a call whose inputs made this key."""
        if windows:
            key += self._write_head(windows)
        case = self._cases.get(found := tuple(key))
        if case is None:
            if len(self._cases) >= _MOST_CASES:
                self._cases.clear()
            case = self._cases[found] = self._new_case(found)
        return case

    def _new_case(self, key: tuple[int, ...]) -> GraphCase:
        """The case that a key stands for."""
        streams = self._layout.streams
        encoders = tuple(EncoderCase(name, key[2 * i], key[2 * i + 1]) for i, name in enumerate(streams) if key[2 * i])
        return GraphCase(encoders, self._head_case(key[2 * len(streams) :]))

    def _head_case(self, key: tuple[int, ...]) -> HeadCase | None:
        streams = self._layout.streams
        if not key:
            return None
        if self._layout.reads_rings:
            return self._layout.ring_case(frozenset(name for i, name in enumerate(streams) if key[0] >> i & 1))
        return self._layout.window_case(key[0], dict(zip(streams, key[1:], strict=True)))


class _ItemWriter:
    """Writes the inputs of one stream.

    An input that lies in no slot is copied into one of the executor's own, which its place in the batch names.
    """

    def __init__(self, layout: DeviceLayout, stream: str, slots: InputSlots, numbers: np.ndarray) -> None:
        self._stream = stream
        self._is_text, self._varies = isinstance(layout.spec(stream), TextSpec), stream in layout.varying
        self._name = layout.manifest.parts[stream].inputs[0].name
        self._own, self._has_pool = list(slots.own), slots.pool is not None
        self._numbers = numbers.reshape(-1).data
        self._most = layout.most[stream]
        #: What texts of so many tokens are padded to.
        self._tokens = (
            [layout.tokens(stream, n) for n in range(layout.lengths(stream)[-1] + 1)] if self._is_text else []
        )
        self._padded = [layout.batch(stream, count) for count in range(layout.most[stream] + 1)]

    def write(self, works: Sequence[Work]) -> tuple[int, int] | None:
        """Write the inputs that works bring.

        Returns:
            The size of the batch, and the length of the inputs (of texts, how many tokens each is padded to); None
            where they are more than the engine takes, or have several lengths.
        """
        stream, in_slots = self._stream, self._has_pool
        described: list[array[int]] = []
        values: list[Array] = []
        for work in works:
            if items := work.items.get(stream):
                if type(items) is not Items:
                    items = Items.of(work.source, items, self._name, self._is_text)
                described.append(items.numbers)
                values += items.values
                in_slots &= items.in_slots
        if not values:
            return 0, 0
        lengths = set(map(len, values)) if self._varies or self._is_text else {0}
        if len(values) > self._most or (len(lengths) > 1 and not self._is_text):
            return None
        numbers = array("i", b"".join(described))
        if not in_slots:
            self._copy(values, numbers)
        batch = self._padded[len(values)]
        numbers += _PADDING * (batch - len(values))
        self._numbers[: len(numbers)] = numbers
        longest = max(lengths)
        return batch, self._tokens[longest] if self._is_text else longest

    def _copy(self, values: Sequence[Array], numbers: array[int]) -> None:
        """Copy inputs that lie in no slot into the executor's own ones, and say so in their numbers."""
        for at, value in enumerate(values):
            if numbers[at * ITEM_NUMBERS] == NO_SLOT or not self._has_pool:
                self._own[at][: len(value)] = value
                numbers[at * ITEM_NUMBERS] = at
