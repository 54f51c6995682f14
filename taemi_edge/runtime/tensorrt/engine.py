"""Opens TensorRT engines, checks them against the manifest, and runs one as a session that takes and gives arrays.

An `Engine` is what TensorRT compiled of one part. A `Binding` is an execution context of it whose input shapes are set;
its caller sets the addresses that it reads and writes. `EngineSession` copies arrays to the GPU and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from mmap import mmap
from typing import Any

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array, PartSpec, TensorSpec
from taemi_edge.errors import BackendError, EngineError
from taemi_edge.runtime.sessions import Session, Sessions
from taemi_edge.runtime.tensorrt.driver import is_capturing
from taemi_edge.runtime.tensorrt.gpu import Gpu, open_gpu


def open_engines(bundle: Bundle) -> Sessions:
    """Open the engines of a bundle as sessions that take and give arrays.

    Raises:
        UsageError: no TensorRT, no PyCUDA or no GPU here.
        EngineError: the engines were built for another TensorRT or GPU; nothing is deserialised then.
        BackendError: TensorRT refuses one of them.
    """
    with ExitStack() as stack:
        gpu = stack.enter_context(open_gpu(bundle))
        parts: dict[str, Session] = {
            part: EngineSession(gpu, *_content(bundle, part)) for part in bundle.manifest.part_names
        }
        return Sessions(parts, stack.pop_all().close)


def open_engine(gpu: Gpu, bundle: Bundle, part: str) -> Engine:
    """Open the engine of one part.

    Raises:
        BackendError, EngineError: see `Engine`.
    """
    return Engine(gpu, *_content(bundle, part))


class Engine:
    """An engine whose inputs and outputs are those of the manifest.

    Its execution contexts share one piece of scratch memory, so that only one of them may run at a time. A hop runs
    them so.

    Args:
        gpu: where it runs.
        content: the serialised engine.
        part: the name of the part.
        spec: the part's inputs and outputs.

    Raises:
        BackendError: TensorRT cannot read it, or the GPU has no memory left for it.
        EngineError: its inputs or outputs are not what the manifest says.
    """

    def __init__(self, gpu: Gpu, content: bytes | mmap, part: str, spec: PartSpec) -> None:
        self.gpu, self.part, self.spec = gpu, part, spec
        self._engine = gpu.runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise BackendError(
                f"{part}: TensorRT cannot read the engine ({gpu.last_complaint()}): build it anew with `taemi-edge "
                f"build-engine`"
            )
        self._require_seams()
        if hasattr(self._engine, "device_memory_size_v2"):
            self._scratch_bytes = int(self._engine.device_memory_size_v2)
        else:
            self._scratch_bytes = int(self._engine.device_memory_size)
        self._scratch = gpu.allocate(self._scratch_bytes)
        self._profiles = [
            {
                s.name: [tuple(shape) for shape in self._engine.get_tensor_profile_shape(s.name, index)]
                for s in spec.inputs
            }
            for index in range(self._engine.num_optimization_profiles)
        ]

    @property
    def largest_batch(self) -> int:
        """The largest batch that the engine was built for."""
        return int(self.longest_shapes()[self.spec.inputs[0].name][0])

    def longest_shapes(self) -> dict[str, tuple[int, ...]]:
        """The largest inputs that the engine was built for: of its optimization profiles, the one that takes most."""
        longest = [{name: spans[2] for name, spans in profile.items()} for profile in self._profiles]
        return max(longest, key=lambda shapes: math.prod(math.prod(shape) for shape in shapes.values()))

    def bind(self, shapes: Mapping[str, tuple[int, ...]]) -> Binding:
        """Make an execution context for inputs of these shapes, with the optimization profile that suits them best.

        Args:
            shapes: by the name of the input.

        Raises:
            BackendError: a shape outside the engine's profiles, or no memory left.
        """
        profile = self.profile_of(shapes)
        if profile is None:
            raise BackendError(f"{self.part}: {'; '.join(self.outside(shapes))}")
        return Binding(self, self._new_context(profile), shapes)

    def profile_of(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The optimization profile that takes these shapes and whose usual ones are nearest; None where none does."""
        fitting = [index for index, profile in enumerate(self._profiles) if not _outside(profile, shapes)]
        return min(fitting, key=lambda index: _distance(self._profiles[index], shapes), default=None)

    def outside(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Name the shapes that the engine was not built for, a sentence each; of the profile that lacks fewest."""
        return min((_outside(profile, shapes) for profile in self._profiles), key=len)

    def close(self) -> None:
        """Drop the engine; its contexts must be dropped before."""
        self._engine = None

    def _new_context(self, profile: int) -> Any:
        engine, trt = self._engine, self.gpu.trt
        strategies = getattr(trt, "ExecutionContextAllocationStrategy", None)
        if strategies is not None:
            context = engine.create_execution_context(strategies.USER_MANAGED)
        else:  # TensorRT 8.6; TensorRT 10 still has it and warns of it
            context = engine.create_execution_context_without_device_memory()
        if context is None:
            raise BackendError(f"{self.part}: there is not enough memory on the GPU to run the engine")
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(int(self._scratch), self._scratch_bytes)
        else:
            context.device_memory = int(self._scratch)
        self._set_profile(context, profile)
        return context

    def _set_profile(self, context: Any, profile: int) -> None:
        """Let a new context use an optimization profile; every context of an engine has the first one to begin with."""
        if context.active_optimization_profile != profile:
            taken = context.set_optimization_profile_async(profile, self.gpu.stream.handle)
            with self.gpu.errors(f"choosing a profile of {self.part}"):
                self.gpu.stream.synchronize()  # encoders run on streams of their own
            if not taken or context.active_optimization_profile != profile:
                raise EngineError(f"{self.part}: the engine lets one context alone use its profile: build it anew")

    def _require_seams(self) -> None:
        """Compare names, dtypes and fixed sizes with the manifest's before anything is fed."""
        engine, trt = self._engine, self.gpu.trt
        wanted = {s.name: s for s in (*self.spec.inputs, *self.spec.outputs)}
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        problems = [f"{name} is not in the manifest" for name in names if name not in wanted]
        problems += [f"{name} is not in the engine" for name in wanted if name not in names]
        inputs = {spec.name for spec in self.spec.inputs}
        for name in set(names) & set(wanted):
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
            shape = tuple(engine.get_tensor_shape(name))
            if problem := seam_problem(wanted[name], dtype, shape, name in inputs):
                problems.append(problem)
        if problems:
            raise EngineError(
                f"{self.part}: the engine and the manifest disagree: {'; '.join(sorted(problems))}: build it anew with "
                f"`taemi-edge build-engine`"
            )


def _outside(profile: Mapping[str, Sequence[tuple[int, ...]]], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Name the shapes that a profile, (min, opt, max) of each input, does not take."""
    problems = []
    for name, shape in shapes.items():
        low, _, high = profile[name]
        if len(shape) != len(low) or any(not a <= n <= b for a, n, b in zip(low, shape, high, strict=False)):
            problems.append(
                f"{name}: expected from {low} to {high}, got {tuple(shape)}: widen the target's profiles and build anew"
            )
    return problems


def _distance(profile: Mapping[str, Sequence[tuple[int, ...]]], shapes: Mapping[str, tuple[int, ...]]) -> float:
    """How far shapes are from those that a profile was tuned for: the sum over all lengths of how many times longer."""
    return sum(
        abs(math.log(max(n, 1) / max(usual, 1)))
        for name, shape in shapes.items()
        for n, usual in zip(shape, profile[name][1], strict=True)
    )


def seam_problem(spec: TensorSpec, dtype: np.dtype[Any], shape: tuple[int, ...], is_input: bool) -> str | None:
    """Compare a tensor of an engine with the manifest.

    Dynamic dimensions are -1: an input must have them wherever the manifest names a dimension; an output may.

    Returns:
        What is wrong with it; None where nothing is.

    Example:
        >>> ids = TensorSpec(name="ids", dtype="int32", shape=("batch", "tokens"))
        >>> seam_problem(ids, np.dtype(np.int64), (-1, -1), is_input=True)
        'ids: expected int32 (batch, tokens), got int64 (-1, -1)'
    """

    def agrees(want: int | str, got: int) -> bool:
        return got == -1 or (not is_input if isinstance(want, str) else got == want)

    fits = len(shape) == len(spec.shape) and all(map(agrees, spec.shape, shape))
    if fits and dtype == np.dtype(spec.dtype):
        return None
    want = ", ".join(str(d) for d in spec.shape)
    return f"{spec.name}: expected {spec.dtype} ({want}), got {dtype} ({', '.join(map(str, shape))})"


class Binding:
    """An execution context whose shapes are set once; its addresses may be set again, which copies nothing.

    Attributes:
        shapes: of all inputs and outputs, by name.
    """

    def __init__(self, engine: Engine, context: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._context, self._part, self._gpu = context, engine.part, engine.gpu
        for name, shape in shapes.items():
            if not context.set_input_shape(name, tuple(shape)):
                raise BackendError(f"{engine.part}: TensorRT refuses {name} of shape {tuple(shape)}")
        self.shapes: dict[str, tuple[int, ...]] = {
            spec.name: tuple(context.get_tensor_shape(spec.name))
            for spec in (*engine.spec.inputs, *engine.spec.outputs)
        }

    def at(self, **addresses: Any) -> Binding:
        """Set the addresses that inputs are read from and outputs are written to, by name; returns itself.

        Raises:
            BackendError: TensorRT refuses one of them.
        """
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, int(address)):
                raise BackendError(f"{self._part}: TensorRT refuses the address of {name}")
        return self

    def enqueue(self, stream: Any) -> None:
        """Start on a stream; nothing waits.

        Raises:
            DeviceLostError, BackendError: TensorRT failed.
        """
        if not self._context.execute_async_v3(stream.handle):
            if not is_capturing():
                self._gpu.require_alive(f"running {self._part}")
            raise BackendError(f"{self._part}: TensorRT failed on {self.shapes}: {self._gpu.last_complaint()}")


class EngineSession:
    """One engine on arrays; implements `taemi_edge.runtime.sessions.Session`."""

    def __init__(self, gpu: Gpu, content: bytes | mmap, part: str, spec: PartSpec) -> None:
        self._gpu, self._part, self._spec = gpu, part, spec
        self._engine: Engine | None = Engine(gpu, content, part, spec)
        self._types = {s.name: np.dtype(s.dtype) for s in (*spec.inputs, *spec.outputs)}
        sizes = self._engine.bind(self._engine.longest_shapes()).shapes
        self._buffers = {n: gpu.allocate(int(np.prod(s)) * self._types[n].itemsize) for n, s in sizes.items()}
        self._binding: Binding | None = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._engine is None:
            raise BackendError(f"{self._part}: the session is closed")
        shapes = {name: value.shape for name, value in feeds.items()}
        problems = self._spec.feed_problems(feeds) or self._engine.outside(shapes)
        if problems:
            raise BackendError(f"{self._part}: {'; '.join(problems)}")
        if self._binding is None or any(self._binding.shapes[name] != shape for name, shape in shapes.items()):
            self._binding = self._engine.bind(shapes).at(**self._buffers)
        cuda, stream = self._gpu.cuda, self._gpu.stream
        held = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        with self._gpu.errors(f"running {self._part}"):
            for name, value in held.items():
                cuda.memcpy_htod_async(self._buffers[name], value, stream)
            self._binding.enqueue(stream)
            outputs = {}
            for spec in self._spec.outputs:
                outputs[spec.name] = np.empty(self._binding.shapes[spec.name], self._types[spec.name])
                cuda.memcpy_dtoh_async(outputs[spec.name], self._buffers[spec.name], stream)
            stream.synchronize()
        return outputs

    def close(self) -> None:
        self._binding = self._engine = None


def _content(bundle: Bundle, part: str) -> tuple[bytes | mmap, str, PartSpec]:
    return bundle.map_part(part), part, bundle.manifest.parts[part]
