"""The CUDA kernels themselves, compiled for the processor: a block is a call with one thread, and a grid is a loop."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

KERNELS = Path(__file__).parents[3] / "taemi_edge" / "runtime" / "tensorrt" / "kernels"

#: What a kernel finds of CUDA where it has one thread a block.
_SHIM = """
struct Index { unsigned x, y, z; };
static Index blockIdx, threadIdx = {0, 0, 0}, blockDim = {1, 1, 1}, gridDim;
struct uint4 { unsigned x, y, z, w; };
static int __syncthreads_or(int value) { return value; }
#define __global__
#define __device__
#define isfinite __builtin_isfinite
"""
_RUNNER = """
extern "C" void run_{name}(unsigned grid_x, unsigned grid_y, {parameters})
{{
    gridDim = {{grid_x, grid_y, 1}};
    for (blockIdx.y = 0; blockIdx.y < grid_y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid_x; blockIdx.x++)
            {name}({arguments});
}}
"""
_SIGNATURE = re.compile(r"__global__ void (\w+)\(([^)]*)\)")


def compile_kernels(folder: Path) -> dict[str, Callable[..., None]]:
    """Compile all kernels; each takes a grid (columns, rows), and then its own arguments: addresses and numbers."""
    code = "".join(file.read_text() for file in sorted(KERNELS.glob("*.cu")))
    kernels = dict(_SIGNATURE.findall(code))
    runners = [
        _RUNNER.format(name=name, parameters=parameters, arguments=", ".join(re.findall(r"(\w+)(?:,|$)", parameters)))
        for name, parameters in kernels.items()
    ]
    source, library = folder / "kernels.cpp", folder / "kernels.so"
    source.write_text("\n".join([_SHIM, code, *runners]))
    compiler = [sys.executable, "-m", "ziglang", "cc", "-x", "c++", "-std=c++11", "-O1"]
    options = ["-shared", "-fPIC", "-fno-exceptions", "-nostdlib", "-o", str(library), str(source)]
    subprocess.run([*compiler, *options], check=True, capture_output=True, text=True)
    loaded = ctypes.CDLL(str(library))
    return {name: _called(getattr(loaded, f"run_{name}"), parameters) for name, parameters in kernels.items()}


def _called(function: Callable[..., None], parameters: str) -> Callable[..., None]:
    pointers = ["*" in parameter for parameter in parameters.split(",")]

    def call(grid: tuple[int, int], *arguments: int) -> None:
        kinds = [ctypes.c_void_p if pointer else ctypes.c_int for pointer in pointers]
        function(*map(ctypes.c_uint, grid), *(kind(value) for kind, value in zip(kinds, arguments, strict=True)))

    return call
