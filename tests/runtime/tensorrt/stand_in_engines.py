"""An engine as far as the runtime uses one: an ONNX graph that ONNX Runtime runs, behind TensorRT's names.

It takes the shapes of its optimization profiles and no others, as TensorRT does.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from tests.runtime.tensorrt.stand_in_kernels import array_at

#: (min, opt, max) of every dynamic dimension of every engine.
Profile = dict[str, tuple[int, int, int]]

#: Addresses of the stand-ins for device memory are multiples of so many bytes.
ALIGNMENT = 256
_TYPES = {"tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32}


class Engine:
    """An ONNX graph behind TensorRT's names."""

    device_memory_size_v2 = 1024

    def __init__(self, device: Any, content: bytes, profiles: Profile | list[Profile]) -> None:
        self.device = device
        self.profiles = profiles if isinstance(profiles, list) else [profiles]
        self.num_optimization_profiles = len(self.profiles)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(bytes(content), options, providers=["CPUExecutionProvider"])
        self.tensors = {t.name: t for t in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return _TYPES[self.tensors[name].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        shape, spans = self.tensors[name].shape, self.profiles[profile]
        return [tuple(n if isinstance(n, int) else spans[n][bound] for n in shape) for bound in range(3)]

    def create_engine_inspector(self) -> Any:
        """IEngineInspector, whose layers are the inputs and outputs: with little verbosity it gives names alone."""
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": list(self.tensors)}))

    def create_execution_context(self, strategy: str) -> ExecutionContext:
        assert strategy == "user managed"
        return ExecutionContext(self)


class ExecutionContext:
    """Shapes and addresses of an engine's next run; a captured run keeps those that it had."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.active_optimization_profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % ALIGNMENT == 0
        self._scratch = (memory, size)

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert self._engine.device.recording is None, "a profile is chosen before anything is captured"
        if not 0 <= profile < self._engine.num_optimization_profiles:
            return False
        self.active_optimization_profile = profile
        self._shapes.clear()  # they are void from now on, as TensorRT has it
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self.active_optimization_profile)
        if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % ALIGNMENT == 0, f"{name} lies at {address:#x}"
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        session = self._engine.session
        feeds = {t.name: np.ones(self._shapes[t.name], _TYPES[t.type]) for t in session.get_inputs()}
        return tuple(session.run([name], feeds)[0].shape)

    def execute_async_v3(self, stream: int) -> bool:
        session, shapes, addresses = self._engine.session, dict(self._shapes), dict(self._addresses)

        def run() -> None:
            feeds = {t.name: array_at(addresses[t.name], shapes[t.name], _TYPES[t.type]) for t in session.get_inputs()}
            for tensor, values in zip(session.get_outputs(), session.run(None, feeds), strict=True):
                array_at(addresses[tensor.name], values.shape, values.dtype)[...] = values

        if self._engine.device.broken:
            return False
        self._engine.device.do(run)
        return True
