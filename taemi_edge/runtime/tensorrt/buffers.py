"""Allocates everything that the TensorRT executor's calls read and write, once, when the executor is opened.

Nothing is allocated while a hop runs, so that a long run cannot run out of memory and graphs may keep addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.tensorrt.calls import padded, usual_frame_counts
from taemi_edge.runtime.tensorrt.engine import Engine
from taemi_edge.runtime.tensorrt.gpu import Gpu
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.tensorrt.staging import Packed, Staged, is_faster_mapped
from taemi_edge.runtime.work import Layout


class Features:
    """Features on the GPU: the rings, the missing-stream tokens, and what the encoders have just written.

    Attributes:
        rings: float32 (sources, rows, D) by stream.
        tokens: float32 (sources, 1, D) by stream, bound where every source has lost the stream.
        ones: the tokens' mask, int32 (sources, 1).
        encoded: the output buffer of each encoder, float32 (rows, D).
    """

    def __init__(self, gpu: Gpu, tokens: Mapping[str, Array], layout: DeviceLayout) -> None:
        self._gpu, self._layout = gpu, layout
        self.rings: dict[Modality, Any] = {}
        self.tokens: dict[Modality, Any] = {}
        for m in MODALITIES:
            rings = np.zeros((layout.sources, layout.ring_rows(m), layout.dim(m)), np.float32)
            rings[:, layout.capacity[m] :] = tokens[m]
            self.rings[m] = gpu.allocate_like(rings)
            self.tokens[m] = gpu.allocate_like(np.tile(tokens[m].astype(np.float32), (layout.sources, 1, 1)))
        self.ones = gpu.allocate_like(np.ones((layout.sources, 1), np.int32))
        self.encoded = {m: gpu.allocate(4 * layout.most_rows(m) * layout.dim(m)) for m in MODALITIES}

    def read(self, source: int, modality: Modality) -> Array:
        """A copy of one source's whole ring, float32 (rows, D)."""
        ring = np.empty((self._layout.ring_rows(modality), self._layout.dim(modality)), np.float32)
        start = int(self.rings[modality]) + source * ring.nbytes
        with self._gpu.errors("reading features"):
            self._gpu.cuda.memcpy_dtoh(ring, start)
        return ring


class Outputs:
    """What comes back from the GPU after a call.

    Attributes:
        intensities: float32 (sources, 6).
        faults: int32 (streams, sources), 1 where new features held a NaN or an infinity.
    """

    def __init__(self, gpu: Gpu, sources: int) -> None:
        self.intensities = Staged(gpu, (sources, len(EMOTIONS)), np.float32, mapped=False)
        self.faults = Staged(gpu, (len(MODALITIES), sources), np.int32, mapped=False)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        self.intensities.close()
        self.faults.close()


class Inputs:
    """What the host fills before a call: pixels, samples, and `control` with token ids, rows and masks.

    Args:
        mapped: whether the GPU reads the host's own memory; else every call copies.
    """

    def __init__(self, gpu: Gpu, layout: DeviceLayout, mapped: bool) -> None:
        height, width = layout.manifest.vision.size_hw
        self.mapped = mapped
        self.pixels = Staged(gpu, (layout.most["vision"], height, width, 3), np.uint8, mapped)
        self.samples = {n: Staged(gpu, (layout.most["audio"], n), np.float32, mapped) for n in layout.steps.lengths}
        shapes: dict[str, tuple[int, ...]] = {f"{m} rows": (layout.most_rows(m),) for m in MODALITIES}
        shapes |= {f"{m} mask": (layout.sources, layout.ring_rows(m)) for m in MODALITIES}
        shapes |= {"ids": (layout.most_rows("text"),), "text input mask": (layout.most_rows("text"),)}
        self.control = Packed(gpu, shapes, mapped)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        for staged in (self.pixels, *self.samples.values()):
            staged.close()
        self.control.close()


def choose_mapped(bundle: Bundle, layout: Layout, vision: Engine, features_address: Any) -> bool:
    """Whether the vision encoder is faster here when it reads one hop's frames from the host's own memory."""
    manifest, most = bundle.manifest, vision.span("frames")[1]
    frames = padded(usual_frame_counts(manifest, layout, most)[0] or 1, most)
    binding = vision.bind({"pixels": (frames, *manifest.vision.size_hw, 3)})
    return is_faster_mapped(vision.gpu, binding, features_address)
