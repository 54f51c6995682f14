"""The kernels that ship as PTX are those of the CUDA C++ beside them, which does what the stand-ins say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.tensorrt.compiled_kernels import KERNELS, compile_kernels
from tests.runtime.tensorrt.stand_in_kernels import KERNELS as KERNELS_IN_NUMPY

ROOT = Path(__file__).parents[3]


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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory):
    pytest.importorskip("ziglang", reason="compiles the kernels for the processor; in the extra `dev`")
    return compile_kernels(tmp_path_factory.mktemp("kernels"))


def both_do(compiled, name: str, grid: tuple[int, int], arguments: list) -> None:
    """Run a kernel and its stand-in on copies of the same arrays, and hold all of them against each other."""
    found, expected = ([one.copy() if isinstance(one, np.ndarray) else one for one in arguments] for _ in range(2))
    for run, given in ((compiled[name], found), (KERNELS_IN_NUMPY[name], expected)):
        run(grid, *(one.ctypes.data if isinstance(one, np.ndarray) else one for one in given))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def items_of(rng: np.random.Generator, count: int, steps: int, capacity: int, slots: int = 9) -> np.ndarray:
    """Numbers of items that share no row: each has a source of its own; some of them pad the batch."""
    items = np.zeros((count, 6), np.int32)
    for at, item in enumerate(items):
        skipped = rng.integers(0, steps + 1)
        item[:] = rng.integers(slots), at, rng.integers(capacity), skipped, rng.integers(0, steps - skipped + 1), 0
        item[4] = min(item[4], capacity)
        if rng.random() < 0.2:
            item[:] = -1, 0, 0, 0, 0, 0
    return items


@pytest.mark.parametrize("seed", range(30))
def test_what_encoders_give_goes_where_the_host_says(compiled, seed: int):
    rng = np.random.default_rng(seed)
    count, steps, dim, capacity = (int(n) for n in rng.integers(1, 8, 4))
    ring_rows = capacity + int(rng.integers(3))
    features = noise(rng, count * steps, dim)
    features[rng.random(features.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    items, rings = items_of(rng, count, steps, capacity), noise(rng, count, ring_rows, dim)
    arguments = [features, items, rings, np.zeros(count, np.int32), steps, dim, capacity, ring_rows]
    both_do(compiled, "scatter_rows", (count * steps, 1), arguments)


@pytest.mark.parametrize("item_bytes", [1, 75, 76, 80, 256, 1000])
def test_inputs_are_gathered_from_their_slots(compiled, item_bytes: int):
    rng = np.random.default_rng(item_bytes)
    stride = -(-item_bytes // 256) * 256
    slots = rng.integers(0, 256, (9, stride)).astype(np.uint8)
    batch = np.full((6, item_bytes), 9, np.uint8)
    both_do(compiled, "gather_slots", (6, 3), [slots, items_of(rng, 6, 3, 4), batch, stride, item_bytes])


@pytest.mark.parametrize("tokens", [1, 16, 40])
def test_texts_are_padded_and_masked(compiled, tokens: int):
    rng = np.random.default_rng(tokens)
    slots, items = rng.integers(1, 99, (9, 64)).astype(np.int32), items_of(rng, 5, 3, 4)
    items[:, 5] = np.where(items[:, 0] < 0, 0, rng.integers(0, tokens + 1, 5))
    ids = np.full((5, tokens), 7, np.int32)
    both_do(compiled, "gather_texts", (5, 1), [slots, items, ids, ids.copy(), 256, tokens])


@pytest.mark.parametrize("seed", range(30))
def test_windows_in_rings_are_marked(compiled, seed: int):
    rng = np.random.default_rng(seed)
    sources, streams = (int(n) for n in rng.integers(1, 6, 2))
    table, windows, start = [], np.zeros((streams, sources, 2), np.int32), 0
    for stream in range(streams):
        capacity, stand_in = (int(n) for n in rng.integers(1, 9, 2))
        table.append((start, capacity + stand_in, capacity, int(rng.integers(2))))
        start += sources * (capacity + stand_in) + int(rng.integers(5))
        windows[stream, :, 0] = rng.integers(0, capacity, sources)
        windows[stream, :, 1] = rng.integers(-1, capacity + 1, sources)
    masks = np.full(start, 5, np.int32)
    both_do(compiled, "write_masks", (sources, streams), [windows, np.array(table, np.int32), masks])


@pytest.mark.parametrize("seed", range(30))
def test_windows_are_laid_in_order(compiled, seed: int):
    rng = np.random.default_rng(seed)
    batch, dim, capacity, stand_in = (int(n) for n in rng.integers(1, 7, 4))
    ring_rows, steps = capacity + stand_in, max(capacity, stand_in) + int(rng.integers(3))
    sources = rng.integers(-1, 3, batch).astype(np.int32)
    windows = np.zeros((batch, 2), np.int32)
    windows[:, 0], windows[:, 1] = rng.integers(0, capacity, batch), rng.integers(-1, capacity + 1, batch)
    laid, mask = np.full((batch * steps, dim), np.nan, np.float32), np.full(batch * steps, 5, np.int32)
    rings = noise(rng, 3, ring_rows, dim)
    for marked in (mask, 0):
        sizes = (steps, dim, capacity, ring_rows, int(rng.integers(2)))
        both_do(compiled, "gather_windows", (batch * steps, 1), [rings, sources, windows, laid, marked, *sizes])
