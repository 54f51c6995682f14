"""TensorRT's builder as far as `engines/compiler.py` uses it: an engine is the ONNX graph that it was given.

Its timing cache refuses what it did not write in one of the ways in which versions of TensorRT do. Nothing here says
anything about TensorRT: `tests/gpu` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import onnxruntime

#: What it measures begins so; anything else is no timing cache.
MAGIC = b"times:"


@dataclass
class BuilderState:
    """What a test tells the builder, and what it has done.

    Attributes:
        version: of the library.
        refusal: what becomes of a foreign timing cache: None comes back, an error is raised, or it is not taken.
        takes_times: whether it takes a timing cache at all.
        started_with: the times that each build started with.
        flags: of Myelin's, as each build found them in the environment.
    """

    version: str = "0.0.0"
    refusal: str = "none"
    takes_times: bool = True
    started_with: list[bytes] = field(default_factory=list)
    flags: list[str | None] = field(default_factory=list)


def add_builder(module: Any, state: BuilderState) -> None:
    """Give the stand-in for `tensorrt` its other half."""
    module.__version__ = state.version
    module.Dims = tuple
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=0)
    module.BuilderFlag, module.DataType = SimpleNamespace(), SimpleNamespace(FLOAT=0, HALF=1, INT8=2)
    module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    module.Builder = lambda logger: _Builder(state)
    module.OnnxParser = _Parser


class _Times:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"one more;"


class _Config:
    def __init__(self, state: BuilderState) -> None:
        self._state = state
        self.times: _Times | None = None

    def add_optimization_profile(self, profile: Any) -> int:
        return 0

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert pool == "workspace"
        assert size > 0

    def create_timing_cache(self, content: bytes) -> _Times | None:
        assert isinstance(content, bytes)
        if not content:
            return _Times(MAGIC)
        if not content.startswith(MAGIC) and self._state.refusal == "none":
            return None
        if not content.startswith(MAGIC) and self._state.refusal == "raised":
            raise RuntimeError("Serialization assertion magicTagRead == kMAGIC_TAG failed")
        return _Times(content)

    def set_timing_cache(self, cache: _Times, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if not self._state.takes_times or not cache.content.startswith(MAGIC):
            return False
        self.times = cache
        return True


class _Network:
    def __init__(self) -> None:
        self.graph = b""
        self.inputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Any:
        tensor = self.inputs[index]
        return SimpleNamespace(
            name=tensor.name,
            shape=[size if isinstance(size, int) else -1 for size in tensor.shape],
            get_dimension_name=lambda axis: tensor.shape[axis] if isinstance(tensor.shape[axis], str) else "",
        )


class _Parser:
    num_errors = 0

    def __init__(self, network: _Network, logger: Any) -> None:
        self._network = network

    def parse(self, graph: bytes) -> bool:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._network.graph, self._network.inputs = graph, session.get_inputs()
        return True


class _Builder:
    def __init__(self, state: BuilderState) -> None:
        self._state = state

    def create_network(self, flags: int) -> _Network:
        assert flags == 1
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self._state)

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda name, low, usual, high: None)

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes:
        self._state.started_with.append(config.times.content if config.times else b"")
        self._state.flags.append(os.environ.get("__LUNOWUD"))
        return network.graph
