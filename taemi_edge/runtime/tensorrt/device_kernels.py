"""Runs the CUDA kernels that turn a call's descriptor into what encoders and the head read.

Each kernel is described where it is written, in `kernels/`; what ships is the PTX that it compiles to.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from taemi_edge.runtime.tensorrt.gpu import Gpu

_THREADS = 256
#: How many bytes one block copies; more of an input go to further blocks.
_BYTES_A_BLOCK = 16 * 1024
#: The file of each kernel, and the types of what it takes: pointers and ints.
_KERNELS = {
    "gather_slots": ("slots", "PPPii"),
    "gather_texts": ("slots", "PPPPii"),
    "scatter_rows": ("scatter", "PPPPiiii"),
    "write_masks": ("windows", "PPP"),
    "gather_windows": ("windows", "PPPPPiiiii"),
}


@dataclass(frozen=True)
class Ring:
    """The rings of one stream, one a source, as kernels know them.

    Attributes:
        address: where the first one lies.
        dim: the length of one row.
        capacity: how many rows at the beginning of a ring hold features.
        rows: how many rows there are, with those of what stands for the stream.
    """

    address: int
    dim: int
    capacity: int
    rows: int


class Kernels:
    """The kernels, loaded on a GPU. Nothing waits for what is started here."""

    def __init__(self, gpu: Gpu) -> None:
        self._functions: dict[str, Any] = {}
        modules: dict[str, Any] = {}
        folder = files("taemi_edge.runtime.tensorrt") / "kernels"
        with gpu.errors("loading a kernel"):
            for name, (file, types) in _KERNELS.items():
                if file not in modules:
                    modules[file] = gpu.cuda.module_from_buffer((folder / f"{file}.ptx").read_bytes())
                self._functions[name] = modules[file].get_function(name)
                self._functions[name].prepare(types)

    def gather_slots(
        self, stream: Any, batch: int, addresses: tuple[int, int, int], slot_bytes: int, item_bytes: int
    ) -> None:
        """Gather so many inputs.

        Args:
            addresses: of the slots, of the items' rows in the descriptor, and of the batch.
            slot_bytes: how many lie between the beginnings of two slots.
            item_bytes: how many one input has.
        """
        blocks = max(1, min(64, item_bytes // _BYTES_A_BLOCK))
        self._start("gather_slots", stream, (batch, blocks), *addresses, slot_bytes, item_bytes)

    def gather_texts(
        self, stream: Any, batch: int, addresses: tuple[int, int, int, int], slot_bytes: int, tokens: int
    ) -> None:
        """Gather so many texts, padded to so many tokens.

        Args:
            addresses: of the slots, of the items' rows in the descriptor, of the ids, and of their masks.
        """
        self._start("gather_texts", stream, (batch, 1), *addresses, slot_bytes, tokens)

    def scatter(self, stream: Any, count: int, addresses: tuple[int, int, int], steps: int, ring: Ring) -> None:
        """Lay `count` rows of an encoder's output into the rings, `steps` of each item.

        Args:
            addresses: of the output, of the items' rows in the descriptor, and of the stream's faults.
        """
        output, rows, faults = addresses
        sizes = (steps, ring.dim, ring.capacity, ring.rows)
        self._start("scatter_rows", stream, (count, 1), output, rows, ring.address, faults, *sizes)

    def write_masks(self, stream: Any, grid: tuple[int, int], addresses: tuple[int, int, int]) -> None:
        """Mark the windows in whole rings.

        Args:
            grid: how many sources and streams there are.
            addresses: of the windows in the descriptor, of the table of the streams, and of the masks.
        """
        self._start("write_masks", stream, grid, *addresses)

    def gather_windows(
        self, stream: Any, count: int, addresses: tuple[int, int, int, int], steps: int, ring: Ring, stand_in: int
    ) -> None:
        """Lay `count` rows of the windows of one stream in order, `steps` of each window.

        Args:
            addresses: of the windows' sources and the stream's windows in the descriptor, of what is laid, and of its
                mask, 0 for none.
            stand_in: the mask of what stands for the stream.
        """
        sizes = (steps, ring.dim, ring.capacity, ring.rows, stand_in)
        self._start("gather_windows", stream, (count, 1), ring.address, *addresses, *sizes)

    def close(self) -> None:
        """Drop the kernels; the GPU's context must still be current."""
        self._functions.clear()

    def _start(self, name: str, stream: Any, grid: tuple[int, int], *arguments: int) -> None:
        self._functions[name].prepared_async_call(grid, (_THREADS, 1, 1), stream, *arguments)
