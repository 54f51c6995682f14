"""The kernels that ship as PTX are what the CUDA C++ beside them compiles to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KERNELS = ROOT / "taemi_edge" / "runtime" / "tensorrt" / "kernels"


def test_the_ptx_is_of_this_source():
    pytest.importorskip("nvidia.cuda_nvrtc", reason="NVRTC is not installed")
    command = [sys.executable, ROOT / "tools" / "compile_kernels.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", sorted(KERNELS.glob("*.cu")), ids=lambda file: file.name)
def test_every_kernel_loads_on_the_oldest_jetson_that_is_supported(source: Path):
    """PTX of CUDA 11.8 for SM 7.2: JetPack 6 and 7 take it, whatever the GPU."""
    ptx = source.with_suffix(".ptx").read_text()
    assert ".version 7.8" in ptx
    assert ".target sm_72" in ptx
