"""The contender PyTorch: eager or compiled, in FP32 on the CPU, in FP32 or FP16 on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from taemi_edge.bench.ceilings import torch_ceilings
from taemi_edge.bench.feeds import BenchWindow, Calls, WindowKind, batched
from taemi_edge.bench.timed_model import TimedRun, WithoutDeviceTimes
from taemi_edge.bench.torch_parts import TorchParts
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import UsageError
from taemi_edge.parity.windows import joined_steps


class TorchModel:
    """A `taemi_edge.bench.timed_model.TimedModel` of PyTorch modules.

    On a GPU, compiled parts use `torch.compile(mode="reduce-overhead")`, which replays CUDA graphs.

    Args:
        parts: the modules in the precision that they run in.
        bundle: says what the parts take and give, and what stands for missing streams.
        device: "cpu" or "cuda".
        compiled: whether parts go through `torch.compile`.
        threads: threads on the CPU; 0 keeps what PyTorch takes.
    """

    def __init__(self, parts: TorchParts, bundle: Bundle, device: str, compiled: bool, threads: int) -> None:
        torch.set_num_threads(threads or torch.get_num_threads())
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self._device, self._given, self._manifest = torch.device(device), parts, bundle.manifest
        self._compiled, self._mode = compiled, "reduce-overhead" if device == "cuda" else "default"
        modules = {name: module.eval().to(self._device) for name, module in parts.modules.items()}
        self._eager = {name: self._named(name, module) for name, module in modules.items()}
        self._parts = self._eager
        if compiled:
            self._parts = {name: self._named(name, self._compile(module)) for name, module in modules.items()}
        self._stand_ins = {name: self._features(torch.from_numpy(v)[None]) for name, v in bundle.tokens.items()}

    def describe(self) -> dict[str, str]:
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else f"{torch.get_num_threads()} threads"
        how = f"torch.compile, {self._mode}" if self._compiled else "eager"
        how = f"{how}, autocast" if self._given.autocast else how
        return {"library": f"torch {torch.__version__}", "how": how, "precision": self._given.precision, "device": name}

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        on_device = {name: self._to_device(value) for name, value in feeds.items()}
        if part == HEAD:
            on_device = {n: v if v.dtype == torch.int32 else self._features(v) for n, v in on_device.items()}
        return self._timed(lambda: self._parts[part](on_device), to_host=False)

    def window(self, kind: WindowKind, window: BenchWindow, pattern: Pattern, sources: int) -> TimedRun:
        if sources > 1:
            raise UsageError("a script runs its sources one by one")
        live = [name for name in self._manifest.streams if name in pattern]
        due = {name: batched(window.due(kind, name)) for name in live}
        before = {name: batched(rows) for name in live if (rows := window.before(kind, name))}
        with torch.inference_mode(), self._casting():
            old = {name: self._encode(self._eager, name, calls) for name, calls in before.items()}

        def run() -> Tensor:
            features: dict[str, Tensor] = {}
            for name, calls in due.items():
                new = self._encode(self._parts, name, calls)
                steps = torch.cat([old[name], new]) if name in old else new
                features[name] = steps[-self._manifest.streams[name].max_steps :][None]
            return self._parts[HEAD](self._head_feeds(features))

        return self._timed(run, to_host=True)

    def ceilings(self) -> dict[str, float]:
        return torch_ceilings(self._device)

    def close(self) -> None:
        self._parts = self._eager = {}

    def _timed(self, call: Callable[[], Tensor], to_host: bool) -> TimedRun:
        return _TorchRun(self._device, call, self._casting, to_host)

    def _casting(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, torch.float16) if self._given.autocast else nullcontext()

    def _encode(self, parts: Mapping[str, Callable[..., Tensor]], stream: str, calls: Calls) -> Tensor:
        """The features of some rows, (T, D); the steps of a chunk's context are cut away."""
        spec = self._manifest.streams[stream]
        steps: list[Tensor] = []
        for feeds in calls:
            given: Any = parts[stream]({name: self._to_device(value) for name, value in feeds.items()})
            kept: Any = joined_steps(spec, feeds, given)
            steps.append(kept.to(self._given.feature_dtype))
        return torch.cat(steps) if len(steps) > 1 else steps[0]

    def _head_feeds(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features (1, T, D) of the live streams, and what stands for the others."""
        feeds: dict[str, Tensor] = {}
        for name, spec in self._manifest.streams.items():
            feeds[name] = features[name] if name in features else self._stand_ins[name]
            if self._manifest.head.masks:
                seen = 1 if name in features else spec.missing.mask
                feeds[f"{name}_mask"] = torch.full_like(feeds[name][..., 0], seen, dtype=torch.int32)
        return feeds

    def _to_device(self, values: Array) -> Tensor:
        return torch.from_numpy(values).to(self._device, non_blocking=True)

    def _features(self, values: Tensor) -> Tensor:
        return values.to(self._device, self._given.feature_dtype)

    def _named(self, part: str, module: Callable[..., Any]) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """A part as a function of its inputs by name; it gives its outputs one after the other."""
        spec = self._manifest.parts[part]
        order, names = [tensor.name for tensor in spec.inputs], [tensor.name for tensor in spec.outputs]

        def run(feeds: Mapping[str, Tensor]) -> Tensor:
            given = module(*(feeds[name] for name in order))
            if isinstance(given, Tensor):
                return given
            by_name = given if isinstance(given, Mapping) else dict(zip(names, given, strict=True))
            values = [by_name[name] for name in sorted(names)]
            return values[0] if len(values) == 1 else torch.cat(values, dim=-1)

        return run

    def _compile(self, module: nn.Module) -> Callable[..., Any]:
        torch._dynamo.config.recompile_limit = 64  # each batch is compiled for itself, as its user would
        run = torch.compile(module, mode=self._mode, dynamic=False)
        if self._mode != "reduce-overhead":
            return run

        next_step: Any = torch.compiler.cudagraph_mark_step_begin

        def cloned(*inputs: Tensor) -> Any:
            next_step()
            return _cloned(run(*inputs))  # the graph's own buffers are written again by the next call

        return cloned


def require_compiler() -> None:
    """Refuse `torch.compile` on a CPU where PyTorch finds no C++ compiler, which it needs there.

    Raises:
        UsageError: there is none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, OSError) as error:
        raise UsageError(
            "torch.compile on a CPU needs a C++ compiler, and PyTorch found none: install one "
            "(`apt-get install g++`), or name it in CXX"
        ) from error


def _cloned(given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.clone()
    return {n: v.clone() for n, v in given.items()} if isinstance(given, Mapping) else [v.clone() for v in given]


class _TorchRun(WithoutDeviceTimes):
    """A `TimedRun` of a function that returns a tensor; on a GPU it is timed by CUDA events."""

    def __init__(
        self,
        device: torch.device,
        call: Callable[[], Tensor],
        casting: Callable[[], AbstractContextManager[Any]],
        to_host: bool,
    ) -> None:
        self._cuda, self._call, self._casting, self._to_host = device.type == "cuda", call, casting, to_host
        make: Any = torch.cuda.Event
        self._marks: list[Any] = [make(enable_timing=True) for _ in range(2)] if self._cuda else []
        self._output: Tensor | None = None

    @torch.inference_mode()
    def run(self) -> None:
        if self._cuda:
            self._marks[0].record()
        with self._casting():
            output = self._call()
        if self._cuda:
            self._marks[1].record()
        self._output = output.cpu() if self._to_host else output
        if self._cuda:
            torch.cuda.synchronize()

    def output(self) -> Array:
        if self._output is None:
            raise UsageError("expected a run before its output is read")
        found: Array = self._output.float().cpu().numpy()
        return found

    def device_ms(self) -> float | None:
        return float(self._marks[0].elapsed_time(self._marks[1])) if self._cuda else None

    def close(self) -> None:
        self._output = None
