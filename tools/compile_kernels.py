"""Compiles the CUDA kernels to PTX, which every driver since CUDA 11.8 turns into code for its GPU.

    python tools/compile_kernels.py [--check]

Needs `pip install nvidia-cuda-nvrtc-cu11==11.8.89` and no GPU. PTX of an old release and a low architecture loads on
all newer ones (Xavier, Orin, Thor, and GPUs of servers); with --check nothing is written and a difference is an error.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

KERNELS = Path(__file__).parent.parent / "taemi_edge" / "runtime" / "tensorrt" / "kernels"
OPTIONS = (b"--gpu-architecture=compute_72", b"--std=c++11", b"--fmad=false")


def main() -> None:
    stale = []
    for source in sorted(KERNELS.glob("*.cu")):
        ptx, target = compile_source(source), source.with_suffix(".ptx")
        if "--check" in sys.argv:
            stale += [target.name] if not target.is_file() or target.read_bytes() != ptx else []
        else:
            target.write_bytes(ptx)
            print(f"wrote {target}, {len(ptx)} bytes")
    if stale:
        sys.exit(f"{', '.join(stale)}: not what the .cu beside it compiles to: run tools/compile_kernels.py")


def compile_source(source: Path) -> bytes:
    """The PTX of one CUDA C++ file."""
    nvrtc = ctypes.CDLL(str(_library()))
    program = ctypes.c_void_p()
    code, name = source.read_bytes(), source.name.encode()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, name, 0, None, None))
    options = (ctypes.c_char_p * len(OPTIONS))(*OPTIONS)
    if nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options):
        sys.exit(f"{source}: {_text(nvrtc, program, 'ProgramLog')}")
    return _text(nvrtc, program, "PTX").encode()


def _library() -> Path:
    spec = find_spec("nvidia.cuda_nvrtc")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("run `pip install nvidia-cuda-nvrtc-cu11==11.8.89` first")
    return next(Path(next(iter(spec.submodule_search_locations))).glob("lib/libnvrtc.so.*"))


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.value.decode()


def _check(status: int) -> None:
    if status:
        sys.exit(f"NVRTC answered {status}")


if __name__ == "__main__":
    main()
