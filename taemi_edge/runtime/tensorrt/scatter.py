"""Runs the CUDA kernel that lays an encoder's output rows into the rings and finds features that are no numbers."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from taemi_edge.runtime.tensorrt.gpu import Gpu

_THREADS = 256


class ScatterKernel:
    """`kernels/scatter.cu`, loaded from the PTX that ships with the package."""

    def __init__(self, gpu: Gpu) -> None:
        code = (files("taemi_edge.runtime.tensorrt") / "kernels" / "scatter.ptx").read_bytes()
        with gpu.errors("loading a kernel"):
            self._function: Any = gpu.cuda.module_from_buffer(code).get_function("scatter_rows")
            self._function.prepare("PPPPii")

    def enqueue(self, stream: Any, count: int, addresses: tuple[int, int, int, int], dim: int, ring_rows: int) -> None:
        """Start on a stream; nothing waits.

        Args:
            count: how many rows the encoder gave.
            addresses: of the encoder's output, of the target rows (int32, -1 for none), of the rings, and of the
                stream's faults (int32, one a source).
            dim: the length of one row.
            ring_rows: how many rows of the rings one source has.
        """
        self._function.prepared_async_call((count, 1), (_THREADS, 1, 1), stream, *addresses, dim, ring_rows)

    def close(self) -> None:
        """Drop the kernel; the GPU's context must still be current."""
        self._function = None
