"""Arrays that host and GPU both reach: copied from one to the other, or the same memory seen by both (Jetson)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from taemi_edge.bundle.spec import Array

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu

#: TensorRT wants its inputs at multiples of so many bytes.
ALIGNMENT = 256


class Staged:
    """One array, pinned on the host; `address` is where the GPU reads or writes it.

    Args:
        mapped: the GPU reads the host's own memory, which costs nothing where both share it and the bus elsewhere;
            else `upload` copies.
    """

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: Any, mapped: bool) -> None:
        cuda = gpu.cuda
        self._cuda, self.mapped = cuda, mapped
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        with gpu.errors("allocating pinned memory"):
            self.host: Array = cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
            self.host.fill(0)
            self.address = int(self.host.base.get_device_pointer()) if mapped else int(gpu.allocate(self.host.nbytes))

    def upload(self, stream: Any, count: int | None = None) -> None:
        """Bring the first `count` rows (all by default) to the device; nothing where it reads them itself."""
        if not self.mapped:
            self._cuda.memcpy_htod_async(self.address, self.host if count is None else self.host[:count], stream)

    def download(self, stream: Any) -> None:
        """Bring what the device wrote back to the host; nothing where it writes there itself."""
        if not self.mapped:
            self._cuda.memcpy_dtoh_async(self.host, self.address, stream)


class Packed:
    """Several int32 arrays in one `Staged`, so that one copy brings them all."""

    def __init__(self, gpu: Gpu, shapes: dict[str, tuple[int, ...]], mapped: bool) -> None:
        starts, end = {}, 0
        step = ALIGNMENT // 4
        for name, shape in shapes.items():
            starts[name] = end
            end += -(-int(np.prod(shape)) // step) * step
        self._all = Staged(gpu, (max(end, step),), np.int32, mapped)
        self.host: dict[str, Array] = {
            name: self._all.host[start : start + int(np.prod(shapes[name]))].reshape(shapes[name])
            for name, start in starts.items()
        }
        self.address = {name: self._all.address + 4 * start for name, start in starts.items()}

    def upload(self, stream: Any) -> None:
        self._all.upload(stream)
