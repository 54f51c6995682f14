"""The contender PyTorch: eager or compiled, in FP32 on the CPU, in FP32 or FP16 on a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from taemi_edge.bench.ceilings import torch_ceilings
from taemi_edge.bench.feeds import BenchWindow, WindowKind, lost_in
from taemi_edge.bench.timed_model import TimedRun, WithoutDeviceTimes
from taemi_edge.bundle.spec import MODALITIES, PARTS, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.network import TaemiModel
from taemi_edge.taemi.reference import part_of

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class TorchModel:
    """A `taemi_edge.bench.timed_model.TimedModel` of a checkpoint.

    On a GPU, compiled parts use `torch.compile(mode="reduce-overhead")`, which replays CUDA graphs.

    Args:
        device: "cpu" or "cuda".
        precision: "fp32" or "fp16". In FP16 the frontend of the audio encoder stays in FP32.
        compiled: whether parts go through `torch.compile`.
        threads: threads on the CPU; 0 keeps what PyTorch takes.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str, compiled: bool, threads: int) -> None:
        torch.set_num_threads(threads or torch.get_num_threads())
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self._device, self._dtype = torch.device(device), _DTYPES[precision]
        self._precision, self._compiled = precision, compiled
        self._chunk_samples = round(checkpoint.recipe.audio.chunk_s * checkpoint.recipe.audio.sample_rate_hz)
        model = _in_precision(checkpoint.model.eval(), self._dtype).to(self._device)
        self._tokens = {m: model.tokens.of(m).detach().to(self._dtype)[None, None] for m in MODALITIES}
        self._mode = "reduce-overhead" if device == "cuda" else "default"
        self._eager: dict[str, Callable[..., Tensor]] = {part: part_of(model, part) for part in PARTS}
        self._parts = {part: self._compile(module) for part, module in self._eager.items()} if compiled else self._eager

    def describe(self) -> dict[str, str]:
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else f"{torch.get_num_threads()} threads"
        how = f"torch.compile, {self._mode}" if self._compiled else "eager"
        return {"library": f"torch {torch.__version__}", "how": how, "precision": self._precision, "device": name}

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        on_device = {name: self._to_device(value) for name, value in feeds.items()}
        module = self._parts[part]
        return _TorchRun(self._device, lambda: module(**on_device), to_host=False)

    def window(self, kind: WindowKind, window: BenchWindow, pattern: frozenset[Modality], sources: int) -> TimedRun:
        if sources > 1:
            raise UsageError("a script runs its sources one by one")
        first_frame, first_chunk = window.encoded_before(kind)
        old: dict[str, Tensor] = {}
        with torch.inference_mode():
            if first_frame and "vision" in pattern:
                old["vision"] = self._eager["vision"](self._to_device(window.pixels[:first_frame]))[None]
            if first_chunk and "audio" in pattern:
                old["audio"] = self._sound(self._eager["audio"], window, window.samples[:first_chunk])

        def run() -> Tensor:
            features: dict[str, Tensor] = {}
            if "vision" in pattern:
                features["vision"] = self._parts["vision"](self._to_device(window.pixels[first_frame:]))[None]
            if "audio" in pattern:
                features["audio"] = self._sound(self._parts["audio"], window, window.samples[first_chunk:])
            if "text" in pattern:
                ids = self._to_device(window.ids[None])
                features["text"] = self._parts["text"](ids, torch.ones_like(ids))
            for m, before in old.items():
                features[m] = torch.cat([before, features[m]], dim=1)
            features |= {m: self._tokens[m] for m in lost_in(pattern)}
            masks = {f"{m}_mask": torch.ones_like(x[..., 0], dtype=torch.int32) for m, x in features.items()}
            return self._parts["fusion"](**features, **masks)

        return _TorchRun(self._device, run, to_host=True)

    def ceilings(self) -> dict[str, float]:
        return torch_ceilings(self._device)

    def close(self) -> None:
        self._parts = self._eager = {}

    def _sound(self, encode: Callable[..., Tensor], window: BenchWindow, samples: Array) -> Tensor:
        encoded = encode(self._to_device(samples))
        kept = window.kept(encoded.shape[1], self._chunk_samples)
        return encoded[:, -kept:].reshape(1, -1, encoded.shape[2])

    def _to_device(self, values: Array) -> Tensor:
        tensor = torch.from_numpy(values).to(self._device, non_blocking=True)
        is_feature = tensor.dtype == torch.float32 and tensor.dim() == 3
        return tensor.to(self._dtype) if is_feature else tensor

    def _compile(self, module: Callable[..., Tensor]) -> Callable[..., Tensor]:
        torch._dynamo.config.recompile_limit = 64  # each batch is compiled for itself, as its user would
        run = torch.compile(module, mode=self._mode, dynamic=False)
        if self._mode != "reduce-overhead":
            return run

        next_step: Any = torch.compiler.cudagraph_mark_step_begin

        def cloned(*inputs: Tensor, **named: Tensor) -> Tensor:
            next_step()
            output: Tensor = run(*inputs, **named)
            return output.clone()  # the graph's own buffer is written again by the next call

        return cloned


class _TorchRun(WithoutDeviceTimes):
    """A `TimedRun` of a function that returns a tensor; on a GPU it is timed by CUDA events."""

    def __init__(self, device: torch.device, call: Callable[[], Tensor], to_host: bool) -> None:
        self._cuda, self._call, self._to_host = device.type == "cuda", call, to_host
        make: Any = torch.cuda.Event
        self._marks: list[Any] = [make(enable_timing=True) for _ in range(2)] if self._cuda else []
        self._output: Tensor | None = None

    @torch.inference_mode()
    def run(self) -> None:
        if self._cuda:
            self._marks[0].record()
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


class _Cast(nn.Module):
    """Casts the output of a frontend that stays in FP32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, values: Tensor) -> Tensor:
        return values.to(self.dtype)


def _in_precision(model: TaemiModel, dtype: torch.dtype) -> TaemiModel:
    if dtype == torch.float32:
        return model
    frontend = copy.deepcopy(model.audio.frontend)
    model.to(dtype)
    model.audio.add_module("frontend", nn.Sequential(frontend, _Cast(dtype)))
    return model
