"""What the CUDA kernels of the runtime do, on arrays in the memory of the host."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


def array_at(address: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory as an array that shares it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype).reshape(shape)


class Scatter:
    """What kernels/scatter.cu does."""

    def __init__(self, device: Any, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self._device = device

    def prepare(self, types: str) -> None:
        assert types == "PPPPii"

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *arguments: int) -> None:
        self._device.do(lambda: self._run(grid[0], *arguments))

    def _run(self, rows: int, features: int, targets: int, ring: int, faults: int, dim: int, ring_rows: int) -> None:
        values = array_at(features, (rows, dim), np.float32)
        for value, target in zip(values, array_at(targets, (rows,), np.int32), strict=True):
            if target >= 0:
                good = np.isfinite(value).all()
                array_at(ring + 4 * int(target) * dim, (dim,), np.float32)[:] = value if good else 0
                if not good:
                    array_at(faults + 4 * (int(target) // ring_rows), (1,), np.int32)[0] = 1


class Gather:
    """What kernels/gather.cu does."""

    def __init__(self, device: Any, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self._device = device

    def prepare(self, types: str) -> None:
        assert types == "PPPi"

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *arguments: int) -> None:
        self._device.do(lambda: self._run(grid[0], *arguments))

    def _run(self, rows: int, ring: int, sources: int, dense: int, dim: int) -> None:
        for at, source in enumerate(array_at(sources, (rows,), np.int32).tolist()):
            place = array_at(dense + 4 * at * dim, (dim,), np.float32)
            place[:] = 0 if source < 0 else array_at(ring + 4 * source * dim, (dim,), np.float32)


KERNELS = {"scatter_rows": Scatter, "gather_rows": Gather}
