"""PyCUDA, cuda-bindings and TensorRT as far as the runtime uses them, on the processor: its own logic runs in CI.

Device memory is host memory, an engine is an ONNX graph that ONNX Runtime runs, and a stream does at once what it is
given, unless it is being captured. Nothing here says anything about TensorRT: `tests/gpu` does.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.runtime.tensorrt.stand_in_engines import ALIGNMENT, Engine, Profile
from tests.runtime.tensorrt.stand_in_kernels import Kernel, array_at


def install(monkeypatch: Any, profiles: Profile | list[Profile], graphs: bool = True) -> Device:
    """Let `import tensorrt`, `import pycuda.driver` and `import cuda.bindings.driver` find the stand-ins.

    Args:
        profiles: of every engine; a list where engines have several.
        graphs: whether cuda-bindings is there.
    """
    device = Device()
    package = ModuleType("pycuda")
    package.driver = device.pycuda()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    monkeypatch.setitem(sys.modules, "tensorrt", device.tensorrt(profiles))
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", device.bindings() if graphs else None)
    monkeypatch.setitem(sys.modules, "cuda.cuda", None)
    return device


class CudaError(Exception):
    """pycuda.driver.Error"""


class CudaMemoryError(CudaError):
    """pycuda.driver.MemoryError"""


class Device:
    """One GPU: its work is done at once, or noted while a capture is under way."""

    def __init__(self) -> None:
        self.recording: list[Callable[[], None]] | None = None
        #: Set it to let every further call fail, as a device does that fell off its bus.
        self.broken = False
        #: Whether it takes memory of the host that was not allocated through it.
        self.registers = True
        #: Ordinary memory that it was told of: its size by its address.
        self.registered: dict[int, int] = {}
        #: How many pieces of pinned memory some array still refers to, and how many were freed without a context.
        self.open_pinned = self.outlived = 0
        self.contexts = 0
        #: What it calls itself, and how large it is.
        self.name, self.capability, self.sm_count, self.memory_bytes = "stand-in", (0, 0), 1, 2**31

    def do(self, work: Callable[[], None]) -> None:
        if self.broken:
            raise CudaError("unspecified launch failure")
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def wait(self, *_: Any) -> None:
        self.forbid("waiting for the GPU")
        if self.broken:
            raise CudaError("unspecified launch failure")

    def forbid(self, what: str) -> None:
        """Fail where a capture is under way: CUDA ends it at a call that waits or that allocates memory."""
        assert self.recording is None, f"{what} inside a capture"

    def copy_and_wait(self, to: Any, source: Any) -> None:
        self.forbid("a copy that waits")
        (self.upload if isinstance(source, np.ndarray) else self.download)(to, source)

    def allocate(self, size: int) -> Allocation:
        self.forbid("allocating memory")
        return Allocation(size)

    def free_and_total(self) -> tuple[int, int]:
        self.forbid("asking for free memory")
        return 2**30, 2**31

    def pinned(self, shape: tuple[int, ...], dtype: Any, mem_flags: int) -> np.ndarray:
        self.forbid("allocating pinned memory")
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.empty(size + ALIGNMENT, np.uint8)
        self.open_pinned += 1
        weakref.finalize(raw, self._freed)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + size].view(dtype).reshape(shape).view(Pinned)

    def _freed(self) -> None:
        self.open_pinned -= 1
        self.outlived += not self.contexts

    def copy(self, to: Any, source: Any, count: int) -> None:
        self.do(lambda: ctypes.memmove(int(to), int(source), count) and None)

    def upload(self, to: Any, values: np.ndarray, stream: Any = None) -> None:
        assert values.flags.c_contiguous
        self.copy(to, values.ctypes.data, values.nbytes)

    def download(self, values: np.ndarray, source: Any, stream: Any = None) -> None:
        assert values.flags.c_contiguous
        self.copy(values.ctypes.data, source, values.nbytes)

    def register(self, start: int, size: int, flags: int) -> tuple[int]:
        self.forbid("registering memory")
        if not self.registers:
            return (801,)  # not supported
        assert flags == 2
        assert start % mmap.PAGESIZE == 0
        assert start not in self.registered
        self.registered[start] = size
        return (0,)

    def address_of(self, start: int, flags: int) -> tuple[int, int | None]:
        assert flags == 0
        return (0, start) if start in self.registered else (1, None)

    def unregister(self, start: int) -> tuple[int]:
        assert self.contexts or self.broken, "registered memory outlived the context"
        return (0,) if self.registered.pop(start, None) else (713,)

    def fill(self, place: Any, value: int, count: int, stream: Any) -> None:
        self.do(lambda: array_at(place, (count,), np.int32).fill(value))

    def pycuda(self) -> Any:
        """pycuda.driver"""
        gpu = partial(Gpu, self)
        gpu.count = lambda: 1  # type: ignore[attr-defined]
        return SimpleNamespace(
            Error=CudaError,
            MemoryError=CudaMemoryError,
            Context=SimpleNamespace(synchronize=self.wait),
            Device=gpu,
            Stream=partial(Stream, self),
            Event=partial(Event, self),
            device_attribute=SimpleNamespace(CAN_MAP_HOST_MEMORY="can map", MULTIPROCESSOR_COUNT="SMs"),
            host_alloc_flags=SimpleNamespace(DEVICEMAP=2),
            event_flags=SimpleNamespace(DISABLE_TIMING=2),
            init=lambda: None,
            get_version=lambda: (0, 0, 0),
            get_driver_version=lambda: 0,
            mem_get_info=self.free_and_total,
            mem_alloc=self.allocate,
            pagelocked_empty=self.pinned,
            memcpy_htod=self.copy_and_wait,
            memcpy_htod_async=self.upload,
            memcpy_dtoh=self.copy_and_wait,
            memcpy_dtoh_async=self.download,
            memset_d32_async=self.fill,
            module_from_buffer=lambda ptx: SimpleNamespace(get_function=lambda name: Kernel(self, ptx, name)),
        )

    def bindings(self) -> Any:
        """cuda.bindings.driver"""
        events: dict[int, float] = {}

        def begin(stream: int, mode: Any) -> tuple[int]:
            self.recording = []
            return (0,)

        def end(stream: int) -> tuple[int, Any]:
            recorded, self.recording = self.recording, None
            return (0, Handle(recorded)) if recorded is not None else (400, None)

        def launch(graph: Handle, stream: int) -> tuple[int]:
            [work() for work in graph.value]
            return (0,)

        def record(event: Handle, stream: int, flags: int) -> tuple[int]:
            assert bool(flags) == (self.recording is not None), "the external flag belongs to captures alone"
            self.do(lambda: events.update({id(event): time.perf_counter()}))
            return (0,)

        def elapsed(first: Handle, then: Handle) -> tuple[int, float]:
            self.forbid("reading an event")
            return 0, (events[id(then)] - events[id(first)]) * 1e3

        return SimpleNamespace(
            CUDA_VERSION=12060,
            cuInit=lambda flags: (0,),
            cuDriverGetVersion=lambda: (0, 12060),
            CUresult=SimpleNamespace(CUDA_SUCCESS=0),
            CUstream=int,
            CUstreamCaptureMode=SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1),
            CUevent_record_flags=SimpleNamespace(CU_EVENT_RECORD_EXTERNAL=1),
            cuStreamBeginCapture=begin,
            cuStreamEndCapture=end,
            cuGraphInstantiate=lambda graph, flags: (0, graph),
            cuGraphUpload=lambda graph, stream: (0,),
            cuGraphLaunch=launch,
            cuGraphExecDestroy=lambda graph: (0,),
            cuGraphDestroy=lambda graph: (0,),
            cuEventCreate=lambda flags: (0, Handle(None)),
            cuEventDestroy=lambda event: (0,),
            cuEventRecordWithFlags=record,
            cuEventElapsedTime=elapsed,
            CU_MEMHOSTREGISTER_DEVICEMAP=2,
            cuMemHostRegister=self.register,
            cuMemHostGetDevicePointer=self.address_of,
            cuMemHostUnregister=self.unregister,
            cuGetErrorName=lambda status: (0, b"CUDA_ERROR"),
        )

    def tensorrt(self, profiles: Profile | list[Profile]) -> Any:
        """tensorrt, of which only the runtime's half is here."""

        class ILogger:
            ERROR, INTERNAL_ERROR = 1, 0

        return SimpleNamespace(
            __version__="0.0.0",
            Builder=None,
            ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
            ILogger=ILogger,
            LayerInformationFormat=SimpleNamespace(JSON="json"),
            nptype=lambda dtype: dtype,
            Runtime=lambda logger: SimpleNamespace(
                deserialize_cuda_engine=lambda content: Engine(self, content, profiles)
            ),
        )


class Context:
    """pycuda.driver.Context"""

    def __init__(self, device: Device) -> None:
        self._device = device

    def push(self) -> None:
        self._device.contexts += 1

    def pop(self) -> None:
        self._device.contexts -= 1

    def detach(self) -> None:
        pass


class Stream:
    """pycuda.driver.Stream"""

    def __init__(self, device: Device, flags: int) -> None:
        assert flags == 1
        self._device = device
        self.handle = id(self)

    def synchronize(self) -> None:
        self._device.wait()

    def wait_for_event(self, event: Any) -> None:
        assert isinstance(event, Event)


class Event:
    """pycuda.driver.Event"""

    def __init__(self, device: Device, flags: int = 0) -> None:
        self._device = device
        self.time_s = 0.0

    def record(self, stream: Any) -> None:
        def note() -> None:
            self.time_s = time.perf_counter()

        self._device.do(note)

    def synchronize(self) -> None:
        self._device.wait()

    def time_since(self, earlier: Event) -> float:
        self._device.forbid("reading an event")
        return (self.time_s - earlier.time_s) * 1e3


class Gpu:
    """pycuda.driver.Device"""

    def __init__(self, device: Device, index: int) -> None:
        assert index == 0
        self._device = device

    def retain_primary_context(self) -> Context:
        return Context(self._device)

    def name(self) -> str:
        return self._device.name

    def compute_capability(self) -> tuple[int, int]:
        return self._device.capability

    def total_memory(self) -> int:
        return self._device.memory_bytes

    def get_attribute(self, attribute: str) -> int:
        return {"can map": 1, "SMs": self._device.sm_count}[attribute]


class Handle:
    """Something that cuda-bindings gives and takes back."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __int__(self) -> int:
        return id(self)


class Allocation:
    """Device memory, filled with what no result may depend on."""

    def __init__(self, size: int) -> None:
        if size > 2**40:
            raise CudaMemoryError("out of memory")
        self._bytes = np.full(size + ALIGNMENT, 0xFF, np.uint8)

    def __int__(self) -> int:
        return -(-self._bytes.ctypes.data // ALIGNMENT) * ALIGNMENT

    def free(self) -> None:
        pass


class Pinned(np.ndarray):
    """Pinned memory: its base knows where the device sees it."""

    @property
    def base(self) -> Any:
        return SimpleNamespace(get_device_pointer=lambda: self.ctypes.data)
