"""A bundle of TensorRT engines on this GPU: PyCUDA for memory and streams, each part a session.

Everything is allocated when a part is opened, for the longest shapes of its profile. All calls come from the thread
that opened the engines; the GPU's primary context is current from then until `close`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bundle import Bundle
from taemi_edge.errors import BackendError, EngineError
from taemi_edge.runtime.session import Session, Sessions
from taemi_edge.runtime.trt_library import load_cuda, load_library, this_machine
from taemi_edge.spec import PARTS, Array, PartSpec


def open_engines(bundle: Bundle) -> Sessions:
    """Open the four engines of a bundle.

    Raises:
        UsageError: no TensorRT, no PyCUDA or no GPU here.
        EngineError: the engines were built for another TensorRT or GPU; nothing is deserialised then.
        BackendError: TensorRT refuses one of them.
    """
    engine = bundle.manifest.engine
    if engine is None:
        raise EngineError(f"{bundle.folder}: expected engines of `taemi-edge build-engine`, its manifest has none")
    library = load_library(engine.backend)
    device = Gpu(library)
    try:
        _require_same_machine(bundle, str(library.__version__))
        parts: dict[str, Session] = {}
        for part in PARTS:
            parts[part] = EngineSession(
                device, bundle.part_file(part).read_bytes(), part, bundle.manifest.parts.of(part)
            )
    except BaseException:
        device.close()
        raise
    return Sessions(parts, device.close)


class Gpu:
    """The primary context of GPU 0, current in this thread until `close`, and TensorRT's runtime on it."""

    def __init__(self, library: Any) -> None:
        self.cuda = load_cuda()
        self.trt = library
        self._context = self.cuda.Device(0).retain_primary_context()
        self._context.push()
        self.stream = self.cuda.Stream()
        self.logger = library.Logger(library.Logger.ERROR)
        self.runtime = library.Runtime(self.logger)

    def close(self) -> None:
        """Leave the context: PyCUDA aborts the process at exit where it is still current."""
        if self._context is None:
            return
        self.runtime = self.stream = None
        self._context.pop()
        self._context.detach()
        self._context = None


class EngineSession:
    """One engine; implements `taemi_edge.runtime.session.Session`."""

    def __init__(self, gpu: Gpu, content: bytes, part: str, spec: PartSpec) -> None:
        self._gpu, self._part, self._spec = gpu, part, spec
        self._engine = gpu.runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise BackendError(f"{part}: TensorRT cannot read the engine: build it anew with `taemi-edge build-engine`")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise BackendError(f"{part}: there is not enough memory on the GPU to run the engine")
        self._limits = {s.name: tuple(self._engine.get_tensor_profile_shape(s.name, 0)[2]) for s in spec.inputs}
        self._buffers: dict[str, Any] = {}
        for name, shape in self._limits.items():
            self._context.set_input_shape(name, shape)
        sizes = {s.name: self._limits[s.name] for s in spec.inputs}
        sizes |= {s.name: tuple(self._context.get_tensor_shape(s.name)) for s in spec.outputs}
        self._types = {s.name: np.dtype(s.dtype) for s in (*spec.inputs, *spec.outputs)}
        for name, shape in sizes.items():
            self._buffers[name] = gpu.cuda.mem_alloc(int(np.prod(shape)) * self._types[name].itemsize)
            self._context.set_tensor_address(name, int(self._buffers[name]))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        problems = [*self._spec.feed_problems(feeds), *self._too_long(feeds)]
        if problems:
            raise BackendError(f"{self._part}: {'; '.join(problems)}")
        cuda, stream = self._gpu.cuda, self._gpu.stream
        held = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        for name, value in held.items():
            self._context.set_input_shape(name, value.shape)
            cuda.memcpy_htod_async(self._buffers[name], value, stream)
        if not self._context.execute_async_v3(stream.handle):
            raise BackendError(f"{self._part}: TensorRT failed on shapes {[v.shape for v in held.values()]}")
        outputs = {}
        for spec in self._spec.outputs:
            outputs[spec.name] = np.empty(tuple(self._context.get_tensor_shape(spec.name)), self._types[spec.name])
            cuda.memcpy_dtoh_async(outputs[spec.name], self._buffers[spec.name], stream)
        stream.synchronize()
        return outputs

    def close(self) -> None:
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._context = self._engine = None

    def _too_long(self, feeds: Mapping[str, Array]) -> list[str]:
        return [
            f"{name}: expected at most {limit}, got {value.shape}: widen the target's profiles and build anew"
            for name, value in feeds.items()
            if name in self._limits
            for limit in [self._limits[name]]
            if len(limit) == value.ndim and any(got > most for got, most in zip(value.shape, limit, strict=True))
        ]


def _require_same_machine(bundle: Bundle, version: str) -> None:
    """Compare what the engines were built for with what is here, before any of them is deserialised."""
    engine = bundle.manifest.engine
    if engine is None:
        raise EngineError(f"{bundle.folder}: its manifest has no engines")
    machine = this_machine()
    wanted = {"library": engine.library, **{k: engine.machine.get(k, "") for k in ("architecture", "gpu", "sm")}}
    found = {
        "library": f"{engine.backend} {version}",
        "architecture": machine.architecture,
        "gpu": machine.gpu,
        "sm": machine.sm,
    }
    other = [
        f"{name} {found[name]} (built for {want})" for name, want in wanted.items() if want and want != found[name]
    ]
    if other:
        raise EngineError(
            f"{bundle.folder}: found {', '.join(other)}: build it anew with `taemi-edge build-engine`, or pass "
            f"--rebuild"
        )
