"""Allocates everything that the TensorRT executor's calls read and write, once, when the executor is opened.

Nothing is allocated while a hop runs, so that a long run cannot run out of memory and graphs may keep addresses.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.tensorrt.calls import EncoderCase, HeadCase, usual_batches
from taemi_edge.runtime.tensorrt.device_kernels import Kernels, Ring
from taemi_edge.runtime.tensorrt.gpu import Gpu
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.tensorrt.slots import InputSlots
from taemi_edge.runtime.tensorrt.staging import ALIGNMENT, Packed
from taemi_edge.runtime.work import Layout

#: So many ordinary hops of all sources fit into the slots: one runs, one waits, one is being prepared.
_HOPS_AHEAD = 3
#: How much memory the slots of one stream may take that the executor does not write itself.
_MOST_POOLED_BYTES = 256 << 20
#: Masks begin at multiples of so many numbers.
_STEP = ALIGNMENT // 4


class Features:
    """Features on the GPU: the rings, what stands for missing streams, and what the encoders have just written.

    Attributes:
        rings: float32 (sources, rows, D) by stream; what stands for the stream lies at the end of each source's rows,
            where the layout wants it.
        stand_ins: float32 (sources, steps, D) by stream, bound where every source has lost the stream.
        stand_in_masks: their masks, int32 (sources, steps).
        encoded: the output buffer of each encoder, float32 (rows, D).
    """

    def __init__(self, gpu: Gpu, tokens: Mapping[str, Array], layout: DeviceLayout) -> None:
        self._gpu, self._layout = gpu, layout
        self.rings: dict[str, Any] = {}
        self.stand_ins: dict[str, Any] = {}
        self.stand_in_masks: dict[str, Any] = {}
        for name, spec in layout.manifest.streams.items():
            token = np.asarray(tokens[name], np.float32).reshape(spec.missing.steps, spec.feature_dim)
            rings = np.zeros((layout.sources, layout.ring_rows(name), spec.feature_dim), np.float32)
            if layout.stand_in_rows(name):
                rings[:, layout.capacity[name] :] = token
            self.rings[name] = gpu.allocate_like(rings)
            self.stand_ins[name] = gpu.allocate_like(np.tile(token, (layout.sources, 1, 1)))
            mask = np.full((layout.sources, spec.missing.steps), spec.missing.mask, np.int32)
            self.stand_in_masks[name] = gpu.allocate_like(mask)
        self.encoded = {m: gpu.allocate(4 * layout.most_rows(m) * layout.dim(m)) for m in layout.streams}

    def ring(self, stream: str) -> Ring:
        """The rings of a stream as kernels know them."""
        layout = self._layout
        return Ring(int(self.rings[stream]), layout.dim(stream), layout.capacity[stream], layout.ring_rows(stream))

    def read(self, source: int, stream: str) -> Array:
        """A copy of one source's whole ring, float32 (rows, D)."""
        ring = np.empty((self._layout.ring_rows(stream), self._layout.dim(stream)), np.float32)
        start = int(self.rings[stream]) + source * ring.nbytes
        with self._gpu.errors("reading features"):
            self._gpu.cuda.memcpy_dtoh(ring, start)
        return ring


class Results:
    """What comes back from the GPU after a call.

    Args:
        mapped: whether the GPU writes into the host's own memory; else every call copies.

    Attributes:
        groups: each group of outputs by its name, float32 (sources, n).
        address: where the GPU writes each of them.
        faults_address: where it writes the faults, int32 (streams, sources), 1 where new features held a NaN or an
            infinity.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout, mapped: bool) -> None:
        shapes: dict[str, tuple[int, ...]] = {"": (len(layout.streams), layout.sources)}  # no output is called ""
        shapes |= {name: (layout.sources, spec.size) for name, spec in layout.manifest.outputs.items()}
        self._gpu, self._layout = gpu, layout
        self._all = Packed(gpu, shapes, mapped, dtype=np.float32)
        self.groups, self.address = dict(self._all.host), dict(self._all.address)
        self._faults: Array = self.groups.pop("").view(np.int32)
        self.faults_address = self.address.pop("")
        self._look: memoryview = self._faults.reshape(-1).data.cast("B")
        self._none = bytes(self._faults.nbytes)

    def download(self, stream: Any) -> None:
        """Copy everything to the host; does nothing where the memory is mapped."""
        self._all.download(stream)

    def faults(self) -> dict[int, frozenset[str]]:
        """The streams whose new features were no numbers in the calls since `clear`, by source."""
        if self._look == self._none:
            return {}
        return {
            int(source): frozenset(itertools.compress(self._layout.streams, self._faults[:, source]))
            for source in np.flatnonzero(self._faults.any(axis=0))
        }

    def clear(self) -> None:
        """Forget all faults, on the host and on the GPU."""
        self._faults.fill(0)
        if not self._all.mapped:
            with self._gpu.errors("clearing faults"):
                self._gpu.cuda.memset_d32_async(self.faults_address, 0, self._faults.size, self._gpu.stream)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        self._look.release()
        self._faults = np.empty((0, 0), np.int32)
        self.groups.clear()
        self._all.close()


class Inputs:
    """What encoders read: the slots of each stream in the host's memory, and the batch that is gathered of them.

    Args:
        wanted: how many sources there are, and how long their hops are.
        mapped: whether the GPU reads the host's own memory; else every call copies.

    Attributes:
        slots: of each stream.
        batches: where the encoder of each stream reads its inputs, by the name of the input.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout, wanted: Layout, mapped: bool) -> None:
        self._layout = layout
        self.slots: dict[str, InputSlots] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        try:
            for name, spec in layout.manifest.streams.items():
                tensors = layout.manifest.parts[name].inputs
                shapes = layout.input_shapes(name, layout.most[name], layout.lengths(name)[-1])
                shape, dtype = shapes[tensors[0].name][1:], np.dtype(tensors[0].dtype)
                each = int(np.prod(shape)) * dtype.itemsize
                usual = max(usual_batches(spec, wanted, layout.most[name]), default=1)
                pooled = min(_HOPS_AHEAD * usual, _MOST_POOLED_BYTES // max(1, each))
                own = layout.most[name]
                self.slots[name] = InputSlots(gpu, shape, dtype, own=own, pooled=pooled, mapped=mapped)
                self.batches[name] = {
                    tensor.name: gpu.allocate(int(np.prod(shapes[tensor.name])) * np.dtype(tensor.dtype).itemsize)
                    for tensor in tensors
                }
        except BaseException:
            self.close()
            raise

    def gather(self, kernels: Kernels, case: EncoderCase, items: int, stream: Any) -> None:
        """Start to gather the inputs of an encoder.

        Args:
            items: where the GPU reads their numbers.
        """
        slots, batches = self.slots[case.stream], self.batches[case.stream]
        slots.upload(stream, case.batch)
        if isinstance(self._layout.spec(case.stream), TextSpec):
            addresses = (slots.address, items, int(batches["ids"]), int(batches["mask"]))
            kernels.gather_texts(stream, case.batch, addresses, slots.stride, case.length)
            return
        [(name, batch)] = batches.items()
        shape = self._layout.input_shapes(case.stream, 1, case.length)[name]
        item_bytes = int(np.prod(shape)) * slots.own.dtype.itemsize
        kernels.gather_slots(stream, case.batch, (slots.address, items, int(batch)), slots.stride, item_bytes)

    def close(self) -> None:
        """Give up the host's memory; the GPU's context must still be current."""
        for slots in self.slots.values():
            slots.close()
        self.slots.clear()


class Windows:
    """What the head reads beside features: masks, and where it does not read rings, windows that are laid in order.

    Attributes:
        laid: float32 (sources, steps, D) by stream: the rings, or windows in order.
        masks: int32 (sources, steps) by stream; none where the head takes none.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout, features: Features) -> None:
        self._layout, self._features = layout, features
        self.laid = features.rings
        if not layout.reads_rings:
            rows = {name: layout.sources * layout.most_steps(name) for name in layout.streams}
            self.laid = {name: gpu.allocate(4 * count * layout.dim(name)) for name, count in rows.items()}
        self.masks: dict[str, int] = {}
        starts, end = [], 0
        for name in layout.streams:
            starts.append(end)
            end += -(-layout.sources * layout.most_steps(name) // _STEP) * _STEP
        if layout.manifest.head.masks:
            first = int(gpu.allocate(4 * end))
            self.masks = {name: first + 4 * start for name, start in zip(layout.streams, starts, strict=True)}
        table = [
            (start, layout.ring_rows(name), layout.capacity[name], layout.spec(name).missing.mask)
            for name, start in zip(layout.streams, starts, strict=True)
        ]
        self._table = gpu.allocate_like(np.array(table, np.int32))

    def write_masks(self, kernels: Kernels, windows: int, stream: Any) -> None:
        """Start to mark the windows in whole rings.

        Args:
            windows: where the GPU reads their numbers.
        """
        first = self.masks[self._layout.streams[0]]
        grid = (self._layout.sources, len(self._layout.streams))
        kernels.write_masks(stream, grid, (windows, int(self._table), first))

    def lay(self, kernels: Kernels, case: HeadCase, addresses: tuple[int, int], stream: Any) -> None:
        """Start to lay all windows in order.

        Args:
            addresses: where the GPU reads the numbers of the windows, and their sources.
        """
        windows, sources = addresses
        for index, (name, steps) in enumerate(zip(self._layout.streams, case.steps, strict=True)):
            own = windows + 8 * index * self._layout.sources
            places = (sources, own, int(self.laid[name]), self.masks.get(name, 0))
            stand_in = self._layout.spec(name).missing.mask
            kernels.gather_windows(stream, case.batch * steps, places, steps, self._features.ring(name), stand_in)
