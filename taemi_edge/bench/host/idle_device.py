"""A GPU that does nothing: PyCUDA, cuda-bindings and TensorRT whose calls return at once.

What is left of a hop on it is the time of the host alone. It has no memory of its own: nothing is copied, encoders
write nothing, and every output that comes back is zero. So no result means anything, and none is ever shown. Like a
Jetson it is faster where it reads the host's own memory: there the host writes inputs that nobody copies.

It takes every call that some version of the executor may make: names of the libraries that it does not know do nothing.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array, PartSpec

#: Gives the shapes of a part's outputs: takes the part, and the shapes of its inputs by name.
OutputShapes = Callable[[str, Mapping[str, tuple[int, ...]]], dict[str, tuple[int, ...]]]
#: The version that the idle TensorRT claims to be.
VERSION = "0.0.0"
#: The largest value of a dimension that a profile of the idle engines takes.
_LONGEST = 1 << 20


@contextmanager
def idle_device(parts: Mapping[str, PartSpec], output_shapes: OutputShapes, largest_batch: int) -> Iterator[None]:
    """Let this process find the idle libraries in the place of PyCUDA, cuda-bindings and TensorRT.

    Args:
        parts: of the bundle whose engines will be opened; the content of an engine is the name of its part.
        output_shapes: what an encoder would give for its inputs.
        largest_batch: how many inputs every engine takes in one call.
    """
    modules = {name: ModuleType(name) for name in ("pycuda", "cuda", "cuda.bindings")}
    modules |= {"pycuda.driver": _Cuda("pycuda.driver"), "cuda.bindings.driver": _Driver("cuda.bindings.driver")}
    modules |= {"tensorrt": _tensorrt(_Engines(parts, output_shapes, largest_batch))}
    for name, module in modules.items():
        parent, _, short = name.rpartition(".")
        if parent:
            setattr(modules[parent], short, module)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, own in before.items():
            if own is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = own


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing, as every call of the idle device does."""


class _Names:
    """Flags and enumerations: success and none are 0, every other name is 2, and the type gives a number as it is."""

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.endswith(("SUCCESS", "NONE")) else 2

    def __call__(self, value: Any = 0) -> int:
        return int(value)


# ------------------------------------------------------------------------------------------------------------- PyCUDA


class _Error(Exception):
    """Stands for every error of PyCUDA; the idle device never fails."""


class _MemoryError(_Error):
    pass


class _Stream:
    def __init__(self, flags: int = 0) -> None:
        self.handle = id(self)

    synchronize = wait_for_event = staticmethod(_nothing)

    def is_done(self) -> bool:
        return True


class _Event:
    """Counts what was copied before it was recorded: a copy takes a millisecond, and all else no time."""

    copies = 0

    def __init__(self, flags: int = 0) -> None:
        self.handle, self._copies = id(self), 0

    def record(self, stream: Any = None) -> None:
        self._copies = _Event.copies

    synchronize = staticmethod(_nothing)

    def query(self) -> bool:
        return True

    def time_since(self, earlier: _Event) -> float:
        return float(self._copies - earlier._copies)


def _copy(*_: Any) -> None:
    _Event.copies += 1


class _Device:
    """pycuda.driver.Device"""

    def __init__(self, index: int = 0) -> None:
        self.index = index

    @staticmethod
    def count() -> int:
        return 1

    def name(self) -> str:
        return "idle device"

    def compute_capability(self) -> tuple[int, int]:
        return 0, 0

    def get_attribute(self, attribute: Any) -> int:
        return 1

    def total_memory(self) -> int:
        return 1 << 40

    def retain_primary_context(self) -> _Context:
        return _Context()


class _Context:
    push = pop = detach = synchronize = staticmethod(_nothing)

    @staticmethod
    def get_stream_priority_range() -> tuple[int, int]:
        return 0, 0


class _Memory:
    """An address that nothing lies at."""

    _addresses = itertools.count(1 << 40, 1 << 32)

    def __init__(self, size: int = 0) -> None:
        self.size, self._address = size, next(self._addresses)

    def __int__(self) -> int:
        return self._address

    __index__ = __int__
    free = unregister = staticmethod(_nothing)


class _Pinned:
    """Memory of the host that says where the device would see it; arrays on it have it as their base."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.__array_interface__ = values.__array_interface__

    def get_device_pointer(self) -> int:
        return int(self._values.ctypes.data)

    free = unregister = staticmethod(_nothing)


class _Kernel:
    prepare = prepared_async_call = prepared_call = set_attribute = __call__ = staticmethod(_nothing)


class _Loaded:
    """A module of kernels."""

    @staticmethod
    def get_function(name: str) -> _Kernel:
        return _Kernel()


def _pinned(values: Array, *_: Any, **__: Any) -> Array:
    return np.asarray(_Pinned(values))


def _pinned_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Array:
    return _pinned(np.zeros(shape, dtype))


class _Cuda(ModuleType):
    """pycuda.driver"""

    Error = LogicError = RuntimeError = LaunchError = _Error
    MemoryError = _MemoryError
    Device, Context, Stream, Event = _Device, _Context, _Stream, _Event
    pagelocked_empty = pagelocked_zeros = staticmethod(_pinned_empty)
    register_host_memory = staticmethod(_pinned)
    mem_alloc = _Memory
    memcpy_htod_async = staticmethod(_copy)

    @staticmethod
    def get_version() -> tuple[int, int, int]:
        return 0, 0, 0

    @staticmethod
    def get_driver_version() -> int:
        return 0

    @staticmethod
    def mem_get_info() -> tuple[int, int]:
        return 1 << 39, 1 << 40

    @staticmethod
    def module_from_buffer(code: bytes, *_: Any, **__: Any) -> _Loaded:
        return _Loaded()

    @staticmethod
    def aligned_empty(shape: Any, dtype: Any, order: str = "C", alignment: int = 4096) -> Array:
        return np.zeros(shape, dtype)

    aligned_zeros = aligned_empty

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Names() if name.endswith(("_flags", "_attribute", "_option")) else _nothing


# ------------------------------------------------------------------------------------------------------- cuda-bindings


class _Driver(ModuleType):
    """cuda.bindings.driver: every call answers that it went well, and with a handle."""

    CUstream = CUevent = CUdeviceptr = CUgraphExec = int
    CUDA_VERSION = 12000

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found: Any = 0 if name.isupper() else _Names() if name.startswith("CU") else _answer_of(name)
        setattr(self, name, found)
        return found


#: What the calls of the driver answer that give something else than one handle.
_ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "cuDriverGetVersion": (0, _Driver.CUDA_VERSION),
    "cuGraphLaunch": (0,),
    "cuEventElapsedTime": (0, 0.0),
    "cuGetErrorName": (0, b"CUDA_SUCCESS"),
    "cuCtxGetStreamPriorityRange": (0, 0, 0),
}


def _answer_of(name: str) -> Callable[..., tuple[Any, ...]]:
    answer = _ANSWERS.get(name, (0, 0))
    return lambda *_: answer


# ------------------------------------------------------------------------------------------------------------ TensorRT


class _Logger:
    ERROR, INTERNAL_ERROR = 1, 0


class _Engines:
    """What TensorRT's runtime gives: the engine of the part whose name is the content."""

    def __init__(self, parts: Mapping[str, PartSpec], output_shapes: OutputShapes, largest_batch: int) -> None:
        self._parts, self._output_shapes, self._largest_batch = parts, output_shapes, largest_batch

    def deserialize_cuda_engine(self, content: Any) -> _Engine:
        part = bytes(content).decode()
        return _Engine(part, self._parts[part], self._output_shapes, self._largest_batch)


class _Engine:
    """tensorrt.ICudaEngine"""

    device_memory_size = device_memory_size_v2 = 1 << 20
    num_optimization_profiles = 1

    def __init__(self, part: str, spec: PartSpec, output_shapes: OutputShapes, largest_batch: int) -> None:
        self.part, self.spec, self.output_shapes, self._largest_batch = part, spec, output_shapes, largest_batch
        self._tensors = {tensor.name: tensor for tensor in (*spec.inputs, *spec.outputs)}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return np.dtype(self._tensors[name].dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self._tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        first, *rest = self._tensors[name].shape
        shapes = []
        for batch, length in ((1, 1), (1, 1), (self._largest_batch, _LONGEST)):
            sizes = (length if isinstance(size, str) else size for size in rest)
            shapes.append((batch if isinstance(first, str) else first, *sizes))
        return shapes

    def create_execution_context(self, *_: Any) -> _ExecutionContext:
        return _ExecutionContext(self)

    create_execution_context_without_device_memory = create_execution_context


class _ExecutionContext:
    """tensorrt.IExecutionContext"""

    active_optimization_profile = 0
    device_memory = 0

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            return self._engine.output_shapes(self._engine.part, self._shapes)[name]
        return self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        return True

    def set_optimization_profile_async(self, profile: int, stream: Any) -> bool:
        return True

    def execute_async_v3(self, stream: Any) -> bool:
        return True

    set_device_memory = staticmethod(_nothing)


def _tensorrt(engines: _Engines) -> ModuleType:
    module = ModuleType("tensorrt")
    vars(module).update(
        __version__=VERSION,
        Builder=None,
        ILogger=_Logger,
        ExecutionContextAllocationStrategy=_Names(),
        nptype=np.dtype,
        Runtime=lambda logger: engines,
    )
    return module
