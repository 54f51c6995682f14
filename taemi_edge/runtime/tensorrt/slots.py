"""Keeps the inputs of a stream in memory that both host and GPU see, each in a slot of its own, in any order.

A kernel gathers the slots of a call into one batch, so that where an input lies costs the host one number. Some slots
are the executor's own, for inputs that it must copy. The others are a pool: whoever makes an input writes it into one
of them, and nobody copies it. The pool is ordinary memory that is registered with CUDA, so that what lies in it can
still be read when the GPU is lost. Where memory cannot be registered, there is no pool.

It is registered through cuda-bindings. PyCUDA has a call for it that does not work with every array: since 2024.1.2 it
frees what it has just made, and raises a SystemError (https://github.com/inducer/pycuda/issues/459).
"""

from __future__ import annotations

import mmap
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.slots import Slot
from taemi_edge.runtime.tensorrt.driver import checked, load_driver
from taemi_edge.runtime.tensorrt.staging import ALIGNMENT, Staged

if TYPE_CHECKING:
    from taemi_edge.runtime.tensorrt.gpu import Gpu


class InputSlots:
    """The slots of one stream.

    Args:
        gpu: whose context the memory belongs to.
        shape: of the longest input, without the batch axis.
        dtype: of the inputs.
        own: how many slots the executor itself writes; they come first.
        pooled: how many slots others write.
        mapped: whether the GPU reads the host's own memory; else the executor's own slots are uploaded with every call,
            and there is no pool.

    Attributes:
        own: the executor's own slots, (own, *shape).
        pool: hands out the others; None where there are none.
        stride: how many bytes lie between the beginnings of two slots.
        address: where the GPU reads the first slot.
    """

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: Any, *, own: int, pooled: int, mapped: bool) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.stride = -(-size // ALIGNMENT) * ALIGNMENT
        self._staged: Staged | None = None
        self._registered: _Registered | None = None
        self.pool: SharedSlots | None = None
        if mapped and pooled:
            self._registered = _registered((own + pooled) * self.stride)
        if self._registered is None:
            self._staged = Staged(gpu, (own * self.stride,), np.uint8, mapped)
            memory, self.address = self._staged.host, self._staged.address
        else:
            memory, self.address = self._registered.memory, self._registered.address
            self.pool = SharedSlots(memory[own * self.stride :], self.stride, shape, dtype, own)
        rows = memory[: own * self.stride].reshape(own, self.stride)[:, :size]
        self.own: Array = np.asarray(rows).view(dtype).reshape(own, *shape)

    def upload(self, stream: Any, count: int) -> None:
        """Copy so many of the executor's own slots to the GPU; does nothing where the GPU reads them as they lie."""
        if self._staged is not None:
            self._staged.upload(stream, count * self.stride)

    def close(self) -> None:
        """Give up the memory; the GPU's context must still be current. Slots that are still in use stay readable."""
        self.own = np.empty(0, self.own.dtype)
        if self._staged is not None:
            self._staged.close()
        if self._registered is not None:
            self._registered.close()
            self._registered = None


class SharedSlots:
    """Implements `taemi_edge.media.slots.SlotPool` on a piece of memory.

    Args:
        memory: uint8, of the pool alone.
        stride: how many bytes lie between the beginnings of two slots.
        shape: of the longest input.
        dtype: of the inputs.
        first: the number of the first slot.
    """

    def __init__(self, memory: Array, stride: int, shape: tuple[int, ...], dtype: Any, first: int) -> None:
        self._memory, self._first = memory, first
        start = memory.ctypes.data
        described = {"shape": shape, "typestr": np.dtype(dtype).str, "version": 3}
        self._places = [{**described, "data": (start + i * stride, False)} for i in range(len(memory) // stride)]
        #: The free slots. One thread's `append` and another's `popleft` need no lock.
        self._free = deque(range(len(self._places)))

    def take(self) -> Slot | None:
        """A free slot; None where all are in use. Any thread may call it."""
        try:
            index = self._free.popleft()
        except IndexError:
            return None
        return Slot(self._first + index, np.asarray(_Lease(self._memory, self._places[index], self._free, index)))

    def __len__(self) -> int:
        """How many slots are free."""
        return len(self._free)


class _Lease:
    """What the arrays of a slot refer to: when the last of them is gone, so is the lease, and the slot is free."""

    def __init__(self, memory: Array, place: dict[str, Any], free: deque[int], index: int) -> None:
        self._memory, self._free, self._index = memory, free, index
        self.__array_interface__ = place

    def __del__(self) -> None:
        self._free.append(self._index)


class _Registered:
    """Ordinary memory that CUDA maps for the GPU.

    It is shared memory for the operating system: a fork of this process then leaves the host and the GPU on one copy.

    Args:
        driver: cuda-bindings' driver module.
        size: in bytes.

    Attributes:
        memory: uint8 (size,), at the beginning of a page.
        address: where the GPU reads it.
    """

    def __init__(self, driver: Any, size: int) -> None:
        self._driver = driver
        self.memory: Array = np.frombuffer(mmap.mmap(-1, size), np.uint8)
        self._start = int(self.memory.ctypes.data)
        flags = driver.CU_MEMHOSTREGISTER_DEVICEMAP
        checked(driver, "registering memory", driver.cuMemHostRegister(self._start, size, flags))
        try:
            self.address = int(checked(driver, "mapping memory", driver.cuMemHostGetDevicePointer(self._start, 0)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take the memory back from CUDA, which a lost device has done already; arrays on it stay readable."""
        self._driver.cuMemHostUnregister(self._start)


def _registered(size: int) -> _Registered | None:
    """Ordinary memory that CUDA maps for the GPU; None where it cannot, or where there is no cuda-bindings."""
    driver, _ = load_driver()
    if driver is None:
        return None
    try:
        return _Registered(driver, size)
    except Exception:  # noqa: BLE001 - cuda-bindings raises errors of its own where the driver lacks a function
        return None
