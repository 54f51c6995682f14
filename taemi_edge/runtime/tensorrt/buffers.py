"""Allocates everything that the TensorRT executor's calls read and write, once, when the executor is opened.

Nothing is allocated while a hop runs, so that a long run cannot run out of memory and graphs may keep addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.tensorrt.calls import usual_batches
from taemi_edge.runtime.tensorrt.engine import Engine
from taemi_edge.runtime.tensorrt.gpu import Gpu
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.tensorrt.staging import Packed, Staged, is_faster_mapped
from taemi_edge.runtime.work import Layout


class Features:
    """Features on the GPU: the rings, what stands for missing streams, and what the encoders have just written.

    Attributes:
        rings: float32 (sources, rows, D) by stream; what stands for the stream lies at the end of each source's rows,
            where the layout wants it.
        read_by_head: what the head reads of a live stream: the rings, or windows in order, float32 (sources, steps, D).
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
        self.read_by_head = self.rings if layout.reads_rings else self._windows(gpu, layout)

    def read(self, source: int, stream: str) -> Array:
        """A copy of one source's whole ring, float32 (rows, D)."""
        ring = np.empty((self._layout.ring_rows(stream), self._layout.dim(stream)), np.float32)
        start = int(self.rings[stream]) + source * ring.nbytes
        with self._gpu.errors("reading features"):
            self._gpu.cuda.memcpy_dtoh(ring, start)
        return ring

    @staticmethod
    def _windows(gpu: Gpu, layout: DeviceLayout) -> dict[str, Any]:
        return {m: gpu.allocate(4 * layout.sources * layout.most_steps(m) * layout.dim(m)) for m in layout.streams}


class Outputs:
    """What comes back from the GPU after a call.

    Attributes:
        groups: each group of outputs by its name, float32 (sources, n).
        faults: int32 (streams, sources), 1 where new features held a NaN or an infinity.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout) -> None:
        shapes = {name: (layout.sources, spec.size) for name, spec in layout.manifest.outputs.items()}
        self.groups = Packed(gpu, shapes, mapped=False, dtype=np.float32)
        self.faults = Staged(gpu, (len(layout.streams), layout.sources), np.int32, mapped=False)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        self.groups.close()
        self.faults.close()


class Inputs:
    """What the host fills before a call: the inputs of the encoders, and `control` with token ids, rows and masks.

    Args:
        mapped: whether the GPU reads the host's own memory; else every call copies.

    Attributes:
        staged: for each stream and each length of its inputs, the arrays by the name of the input. Those of texts lie
            in `control`.
        control: "STREAM rows" where features go; "STREAM mask" of the head; "STREAM window", the rows that are laid in
            order where the head does not read rings; "STREAM ids" and "STREAM input mask" of texts.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout, mapped: bool) -> None:
        self._layout, self.mapped = layout, mapped
        self.staged: dict[tuple[str, int], dict[str, Staged]] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for name, spec in layout.manifest.streams.items():
            steps = layout.most_steps(name)
            shapes[f"{name} rows"] = (layout.most_rows(name),)
            if layout.manifest.head.masks:
                shapes[f"{name} mask"] = (layout.sources, steps)
            if not layout.reads_rings:
                shapes[f"{name} window"] = (layout.sources, steps)
            if isinstance(spec, TextSpec):
                tokens = (layout.most[name] * spec.max_tokens,)
                shapes |= {f"{name} ids": tokens, f"{name} input mask": tokens}
            else:
                self._stage(gpu, name)
        self.control = Packed(gpu, shapes, mapped)

    def addresses(self, stream: str, length: int) -> dict[str, int]:
        """Where the encoder of a stream reads inputs of a length, by the name of the input."""
        if (stream, length) in self.staged:
            return {name: staged.address for name, staged in self.staged[stream, length].items()}
        return {name: self.control.address[f"{stream} {where}"] for name, where in TEXT_INPUTS.items()}

    def upload(self, stream: str, length: int, batch: int, cuda_stream: Any) -> None:
        """Copy the inputs of a stream to the GPU; those of texts are part of `control`."""
        for staged in self.staged.get((stream, length), {}).values():
            staged.upload(cuda_stream, batch)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        for arrays in self.staged.values():
            for staged in arrays.values():
                staged.close()
        self.control.close()

    def _stage(self, gpu: Gpu, stream: str) -> None:
        dtypes = {tensor.name: tensor.dtype for tensor in self._layout.manifest.parts[stream].inputs}
        for length in self._layout.lengths(stream):
            shapes = self._layout.input_shapes(stream, self._layout.most[stream], length)
            self.staged[stream, length] = {
                name: Staged(gpu, shape, np.dtype(dtypes[name]), self.mapped) for name, shape in shapes.items()
            }


#: Where the inputs of a text encoder lie in `control`.
TEXT_INPUTS = {"ids": "ids", "mask": "input mask"}


def choose_mapped(layout: DeviceLayout, wanted: Layout, engines: Mapping[str, Engine], features: Features) -> bool:
    """Whether encoders are faster here when they read a hop's inputs from the host's own memory.

    The stream that brings the most bytes with a hop is tried: a video where there is one.
    """
    usual = {
        name: (usual_batches(spec, wanted, layout.most[name])[0] or 1, layout.usual_length(name))
        for name, spec in layout.manifest.streams.items()
        if not isinstance(spec, TextSpec)
    }
    if not usual:
        return False

    def hop_bytes(name: str) -> int:
        [tensor, *_] = layout.manifest.parts[name].inputs
        return int(np.prod(layout.input_shapes(name, *usual[name])[tensor.name])) * np.dtype(tensor.dtype).itemsize

    largest = max(usual, key=hop_bytes)
    binding = engines[largest].bind(layout.input_shapes(largest, *usual[largest]))
    part = layout.manifest.parts[largest]
    binding.at(**{part.outputs[0].name: features.encoded[largest]})
    return is_faster_mapped(engines[largest].gpu, binding, part.inputs[0])
