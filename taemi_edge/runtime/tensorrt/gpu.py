"""Holds the GPU's context for TensorRT: memory, a stream, and CUDA's errors as ours.

All calls come from the thread that opened the GPU. Its primary context, which PyTorch and the CUDA runtime use too, is
current from then until `close`. What one GPU owns is freed there, also after an error that took the GPU away.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BackendError, DeviceLostError, EngineError
from taemi_edge.runtime.tensorrt.driver import DriverCallError, is_capturing
from taemi_edge.runtime.tensorrt.library import load_cuda, load_library, quiet_logger
from taemi_edge.runtime.tensorrt.machine import described, is_same_device, this_machine, way_back

#: Streams that do not wait for the default stream, on which others in the process may work (CU_STREAM_NON_BLOCKING).
_NON_BLOCKING = 1


def open_gpu(bundle: Bundle) -> Gpu:
    """Open the GPU for a bundle of engines, if it is the one that they were built for.

    Raises:
        UsageError: no TensorRT, no PyCUDA or no GPU here.
        EngineError: the engines were built for another TensorRT or GPU, or the bundle holds none.
    """
    engine = bundle.manifest.engine
    if engine is None:
        raise EngineError(f"{bundle.folder}: expected engines of `taemi-edge build-engine`, its manifest has none")
    library = load_library(engine.backend)
    _require_same_machine(bundle, str(library.__version__))
    return Gpu(library)


class Gpu:
    """The primary context of GPU 0, current in this thread until `close`, and TensorRT's runtime on it.

    Args:
        library: TensorRT's module.

    Attributes:
        cuda: PyCUDA's driver module.
        trt: TensorRT's module.
        stream: the stream of calls that need no stream of their own.
        lost: whether CUDA has failed for good; complaints of what is closed then mean nothing.
    """

    def __init__(self, library: Any) -> None:
        self.cuda = load_cuda()
        self.trt = library
        self.device = self.cuda.Device(0)
        self._owner = threading.get_ident()
        self._context = self.device.retain_primary_context()
        self._context.push()
        self._allocations: list[Any] = []
        self.lost = False
        try:
            self.stream = self.new_stream()
            self.logger, self._complaints = quiet_logger(library)
            self.runtime = library.Runtime(self.logger)
        except BaseException:
            self.close()
            raise

    def new_stream(self) -> Any:
        """A stream that waits for no other."""
        return self.cuda.Stream(_NON_BLOCKING)

    def allocate(self, size: int) -> Any:
        """Device memory of at least `size` bytes, freed at `close`.

        Raises:
            BackendError: there is not enough.
        """
        with self.errors(f"allocating {size / 2**20:.1f} MiB"):
            memory = self.cuda.mem_alloc(max(size, 256))
        self._allocations.append(memory)
        return memory

    def allocate_like(self, values: Array) -> Any:
        """Device memory that holds a copy of an array."""
        memory = self.allocate(values.nbytes)
        with self.errors("copying constants"):
            self.cuda.memcpy_htod(memory, np.ascontiguousarray(values))
        return memory

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise CUDA's errors inside the `with` block as ours.

        Args:
            doing: what is being done, for the message.

        Raises:
            BackendError: not enough memory, or called from another thread; or CUDA refuses to capture the call.
            DeviceLostError: anything else that CUDA answers: its context is of no use afterwards.
        """
        if threading.get_ident() != self._owner:
            raise BackendError("expected every call from the thread that opened the engines, got another one")
        try:
            yield
        except self.cuda.MemoryError as error:
            free, total = self.memory()
            raise BackendError(
                f"{doing}: there is not enough memory on the GPU ({free / 2**20:.0f} of {total / 2**20:.0f} MiB free): "
                f"run fewer sources, or build with smaller profiles (--set profiles...)"
            ) from error
        except DeviceLostError:
            self.lost = True
            raise
        except (self.cuda.Error, DriverCallError) as error:
            if is_capturing():  # that a call cannot be captured says nothing about the device
                raise BackendError(f"CUDA refuses to capture {doing}: {error}") from error
            self.lost = True
            raise DeviceLostError(f"the GPU was lost while {doing}: {error}") from error

    def require_alive(self, doing: str) -> None:
        """Wait for everything that the GPU was given; never while a graph is captured.

        Raises:
            DeviceLostError: the GPU is lost.
        """
        with self.errors(doing):
            self.cuda.Context.synchronize()

    def settle(self) -> None:
        """Wait until nothing runs that may use what is freed next, whatever becomes of it."""
        if self._context is not None:
            with suppress(self.cuda.Error):  # nothing runs on a lost device
                self.cuda.Context.synchronize()

    def close(self) -> None:
        """Free everything and leave the context: PyCUDA aborts the process at exit where it is still current."""
        if self._context is None:
            return
        self.runtime = self.stream = None
        for memory in self._allocations:
            with suppress(self.cuda.Error):  # a lost device has freed it already
                memory.free()
        self._allocations.clear()
        with suppress(self.cuda.Error):
            self._context.pop()
        with suppress(self.cuda.Error):
            self._context.detach()
        self._context = None

    def __enter__(self) -> Gpu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def last_complaint(self) -> str:
        """TensorRT's last error message."""
        return self._complaints[-1] if self._complaints else "it gave no reason"

    def memory(self) -> tuple[int, int]:
        """Free and total bytes; zeros where the GPU is lost."""
        try:
            free, total = self.cuda.mem_get_info()
        except self.cuda.Error:
            return 0, 0
        return int(free), int(total)


def _require_same_machine(bundle: Bundle, version: str) -> None:
    """Compare what the engines were built for with what is here, before any of them is deserialised."""
    engine = bundle.manifest.engine
    if engine is None:
        raise EngineError(f"{bundle.folder}: its manifest has no engines")
    machine, library = this_machine(), f"{engine.backend} {version}"
    if library != engine.library or not is_same_device(engine.machine, machine):
        raise EngineError(
            f"{bundle.folder} was built for {engine.library} on {described(engine.machine)}, found {library} on "
            f"{described(machine)}: {way_back(engine.machine, machine)}"
        )
