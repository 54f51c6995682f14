"""Arrays that both host and GPU reach: copied between the two, or mapped, which means one memory that both see.

Mapped memory costs nothing on a Jetson, whose processor and GPU share their memory. Elsewhere it costs the bus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from taemi_edge.bundle.values import Array

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu

#: TensorRT wants its inputs at multiples of so many bytes.
ALIGNMENT = 256


class Staged:
    """One array, pinned on the host; `address` is where the GPU reads or writes it.

    Args:
        gpu: whose context the memory belongs to.
        shape: of the array.
        dtype: of the array.
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
        """Copy the first `count` rows (all by default) to the GPU; does nothing where the memory is mapped."""
        if not self.mapped:
            self._cuda.memcpy_htod_async(self.address, self.host if count is None else self.host[:count], stream)

    def download(self, stream: Any) -> None:
        """Copy what the GPU wrote back to the host; does nothing where the memory is mapped."""
        if not self.mapped:
            self._cuda.memcpy_dtoh_async(self.host, self.address, stream)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        self.host = np.empty(0, self.host.dtype)


class Packed:
    """Several arrays of one type, with elements of four bytes, in one `Staged`, so that one copy brings them all.

    Args:
        gpu: whose context the memory belongs to.
        shapes: of the arrays, by name.
        mapped: see `Staged`.
        dtype: of the arrays.

    Attributes:
        host: the arrays, by name.
        address: where the GPU reads each of them.
    """

    def __init__(self, gpu: Gpu, shapes: Mapping[str, tuple[int, ...]], mapped: bool, dtype: Any = np.int32) -> None:
        starts, end = {}, 0
        step = ALIGNMENT // 4
        for name, shape in shapes.items():
            starts[name] = end
            end += -(-int(np.prod(shape)) // step) * step
        self._all = Staged(gpu, (max(end, step),), dtype, mapped)
        self.host: dict[str, Array] = {
            name: self._all.host[start : start + int(np.prod(shapes[name]))].reshape(shapes[name])
            for name, start in starts.items()
        }
        self.address = {name: self._all.address + 4 * start for name, start in starts.items()}

    @property
    def mapped(self) -> bool:
        """Whether the GPU reads the host's own memory."""
        return self._all.mapped

    def upload(self, stream: Any) -> None:
        """Copy all arrays to the GPU; does nothing where the memory is mapped."""
        self._all.upload(stream)

    def download(self, stream: Any) -> None:
        """Copy what the GPU wrote back to the host; does nothing where the memory is mapped."""
        self._all.download(stream)

    def close(self) -> None:
        """Free the pinned memory; the GPU's context must still be current."""
        self.host.clear()
        self._all.close()
