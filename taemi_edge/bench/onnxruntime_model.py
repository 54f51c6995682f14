"""The contender ONNX Runtime: one session for each part, and features joined with numpy, as a script would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bench.feeds import BenchWindow, WindowKind, lost_in
from taemi_edge.bench.timed_model import HostRun, TimedRun, WithoutDeviceTimes
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PARTS, Modality
from taemi_edge.bundle.values import Array, Flavour
from taemi_edge.errors import UsageError
from taemi_edge.runtime.onnx_sessions import OrtSession


class OnnxRuntimeModel:
    """A `taemi_edge.bench.timed_model.TimedModel` of the graphs of a bundle in one flavour.

    Args:
        device: "cpu" or "cuda".
        flavour: the precision of the graphs.
        threads: threads for each part; 0 takes all cores.

    Raises:
        UsageError: ONNX Runtime lacks the provider, or the bundle lacks the flavour.
    """

    def __init__(self, bundle: Bundle, device: str, flavour: Flavour, threads: int) -> None:
        self._bundle, self._device, self._flavour, self._threads = bundle, device, flavour, threads
        self._sessions: dict[str, OrtSession] = {}
        for part in PARTS:
            name = bundle.manifest.graph_file(part, flavour)
            if name is None:
                raise UsageError(f"{bundle.folder} has no {flavour} graph of {part}")
            spec = bundle.manifest.parts[part]
            self._sessions[part] = OrtSession.from_file(bundle.folder / name, part, spec, device, threads)

    def describe(self) -> dict[str, str]:
        import onnxruntime

        return {
            "library": f"onnxruntime {onnxruntime.__version__}",
            "device": self._device,
            "precision": self._flavour,
            "threads": str(self._threads),
        }

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        session = self._sessions[part]
        [name] = (spec.name for spec in self._bundle.manifest.parts[part].outputs)
        if self._device == "cuda":
            return _BoundPartRun(session.native, feeds, name)
        return HostRun(lambda: session.run(feeds)[name])

    def window(self, kind: WindowKind, window: BenchWindow, pattern: frozenset[Modality], sources: int) -> TimedRun:
        if sources > 1:
            raise UsageError("a script runs its sources one by one")
        first_frame, first_chunk = window.encoded_before(kind)
        old: dict[str, Array] = {}
        if first_frame and "vision" in pattern:
            old["vision"] = self._encode("vision", {"pixels": window.pixels[:first_frame]})[None]
        if first_chunk and "audio" in pattern:
            old["audio"] = self._sound(window, window.samples[:first_chunk])

        def run() -> Array:
            feeds: dict[str, Array] = {}
            if "vision" in pattern:
                feeds["vision"] = self._encode("vision", {"pixels": window.pixels[first_frame:]})[None]
            if "audio" in pattern:
                feeds["audio"] = self._sound(window, window.samples[first_chunk:])
            if "text" in pattern:
                ids = window.ids[None]
                feeds["text"] = self._encode("text", {"ids": ids, "mask": np.ones_like(ids)})
            for m, before in old.items():
                feeds[m] = np.concatenate([before, feeds[m]], axis=1)
            for m in lost_in(pattern):
                feeds[m] = self._bundle.tokens[m][None].astype(np.float32)
            feeds |= {f"{m}_mask": np.ones(feeds[m].shape[:2], np.int32) for m in ("vision", "audio", "text")}
            return self._sessions["fusion"].run(feeds)["intensities"]

        return HostRun(run)

    def ceilings(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def _encode(self, part: str, feeds: Mapping[str, Array]) -> Array:
        return self._sessions[part].run(feeds)["features"]

    def _sound(self, window: BenchWindow, samples: Array) -> Array:
        """Chunks (n, samples) as features (1, T, D), their context cut away."""
        encoded = self._encode("audio", {"samples": samples})
        kept = window.kept(encoded.shape[1], self._bundle.manifest.audio.chunk_samples)
        return encoded[:, -kept:].reshape(1, -1, encoded.shape[2])


class _BoundPartRun(WithoutDeviceTimes):
    """A `TimedRun` of a part whose inputs and outputs stay on the GPU."""

    def __init__(self, session: Any, feeds: Mapping[str, Array], output: str) -> None:
        import onnxruntime

        self._session, self._binding = session, session.io_binding()
        for name, value in feeds.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
        self._binding.bind_output(output, "cuda", 0)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> Array:
        [values] = self._binding.copy_outputs_to_cpu()
        found: Array = values
        return found

    def close(self) -> None:
        self._binding = None
