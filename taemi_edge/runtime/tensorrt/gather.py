"""Runs the CUDA kernel that lays the rows of a window in order, for heads that cannot read a ring as it lies."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from taemi_edge.runtime.tensorrt.gpu import Gpu

_THREADS = 256


class GatherKernel:
    """`kernels/gather.cu`, loaded from the PTX that ships with the package."""

    def __init__(self, gpu: Gpu) -> None:
        code = (files("taemi_edge.runtime.tensorrt") / "kernels" / "gather.ptx").read_bytes()
        with gpu.errors("loading a kernel"):
            self._function: Any = gpu.cuda.module_from_buffer(code).get_function("gather_rows")
            self._function.prepare("PPPi")

    def enqueue(self, stream: Any, count: int, addresses: tuple[int, int, int], dim: int) -> None:
        """Start on a stream; nothing waits.

        Args:
            count: how many rows are laid.
            addresses: of the rings, of the rows to take (int32, -1 for a row of zeros), and of what is written.
            dim: the length of one row.
        """
        self._function.prepared_async_call((count, 1), (_THREADS, 1, 1), stream, *addresses, dim)

    def close(self) -> None:
        """Drop the kernel; the GPU's context must still be current."""
        self._function = None
