"""What the CUDA kernels of the runtime do, on arrays in the memory of the host.

`test_kernels` compiles the kernels themselves for the processor, and holds them against these.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np


def array_at(address: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory as an array that shares it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype).reshape(shape)


def scatter_rows(grid: tuple[int, int], *arguments: int) -> None:
    features, rows, rings, faults, steps, dim, capacity, ring_rows = arguments
    count = grid[0]
    written: set[int] = set()
    values, items = array_at(features, (count, dim), np.float32), array_at(rows, (count // steps, 6), np.int32)
    for at, value in enumerate(values):
        _, source, first, skipped, kept, _ = items[at // steps].tolist()
        step = at % steps - skipped
        if 0 <= step < kept:
            good = np.isfinite(value).all()
            row = source * ring_rows + (first + step) % capacity
            assert row not in written, "blocks run in any order: two writers of a row race"
            written.add(row)
            array_at(rings + 4 * row * dim, (dim,), np.float32)[:] = value if good else 0
            if not good:
                array_at(faults + 4 * source, (1,), np.int32)[0] = 1


def gather_slots(grid: tuple[int, int], slots: int, rows: int, batch: int, slot_bytes: int, item_bytes: int) -> None:
    for at, (slot, *_) in enumerate(array_at(rows, (grid[0], 6), np.int32).tolist()):
        place = array_at(batch + at * item_bytes, (item_bytes,), np.uint8)
        place[:] = 0 if slot < 0 else array_at(slots + slot * slot_bytes, (item_bytes,), np.uint8)


def gather_texts(
    grid: tuple[int, int], slots: int, rows: int, ids: int, mask: int, slot_bytes: int, tokens: int
) -> None:
    for at, (slot, *_, length) in enumerate(array_at(rows, (grid[0], 6), np.int32).tolist()):
        words, kept = (array_at(place + 4 * at * tokens, (tokens,), np.int32) for place in (ids, mask))
        words[:] = kept[:] = 0
        kept[0] = 1
        if slot >= 0:
            words[:length], kept[:length] = array_at(slots + slot * slot_bytes, (length,), np.int32), 1


def write_masks(grid: tuple[int, int], windows: int, streams: int, masks: int) -> None:
    sources, count = grid
    spans = array_at(windows, (count, sources, 2), np.int32).tolist()
    table = array_at(streams, (count, 4), np.int32).tolist()
    for of_one, (start, rows, capacity, stand_in) in zip(spans, table, strict=True):
        mask = array_at(masks + 4 * start, (sources, rows), np.int32)
        mask[:] = 0
        for source, (first, kept) in enumerate(of_one):
            if kept < 0:
                mask[source, capacity:] = stand_in
            else:
                mask[source, (first + np.arange(kept)) % capacity] = 1


def gather_windows(grid: tuple[int, int], *arguments: int) -> None:
    rings, sources, windows, laid, mask, steps, dim, capacity, ring_rows, stand_in = arguments
    batch = grid[0] // steps
    dense = array_at(laid, (batch, steps, dim), np.float32)
    marks = array_at(mask, (batch, steps), np.int32) if mask else np.zeros((batch, steps), np.int32)
    dense[:], marks[:] = 0, 0
    spans = array_at(windows, (batch, 2), np.int32).tolist()
    for at, (source, (first, kept)) in enumerate(
        zip(array_at(sources, (batch,), np.int32).tolist(), spans, strict=True)
    ):
        if source < 0:
            marks[at, 0] = 1
            continue
        ring = array_at(rings + 4 * source * ring_rows * dim, (ring_rows, dim), np.float32)
        lost = kept < 0
        found = ring[capacity:] if lost else ring[(first + np.arange(kept)) % capacity]
        dense[at, : len(found)], marks[at, : len(found)] = found, stand_in if lost else 1


class Kernel:
    """A function of a module: what it is given is checked against the types that it was prepared for."""

    def __init__(self, device: Any, ptx: bytes, name: str) -> None:
        assert f".entry {name}(".encode() in ptx
        self._device, self._run = device, KERNELS[name]

    def prepare(self, types: str) -> None:
        self._types = types

    def prepared_async_call(self, grid: tuple[int, int], block: Any, stream: Any, *arguments: int) -> None:
        assert len(arguments) == len(self._types)
        assert all(
            type(value) is int and 0 <= value < 2 ** (64 if t == "P" else 31)
            for value, t in zip(arguments, self._types, strict=True)
        )
        assert all(type(size) is int and size > 0 for size in (*grid, *block))
        self._device.do(lambda: self._run(grid, *arguments))


KERNELS: dict[str, Callable[..., None]] = {
    run.__name__: run for run in (scatter_rows, gather_slots, gather_texts, write_masks, gather_windows)
}
