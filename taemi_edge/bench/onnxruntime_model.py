"""The contender ONNX Runtime: one session for each part, and features joined with numpy, as a script would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taemi_edge.bench.feeds import BenchWindow, Calls, WindowKind, batched, joined_outputs
from taemi_edge.bench.timed_model import HostRun, TimedRun, WithoutDeviceTimes
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Flavour
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import UsageError
from taemi_edge.parity.windows import encode_calls
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
        for part in bundle.manifest.part_names:
            name = bundle.manifest.graph_file(part, flavour)
            if name is None:
                raise UsageError(f"{bundle.folder} has no {flavour} graph of {part}")
            spec = bundle.manifest.parts[part]
            self._sessions[part] = OrtSession.from_bytes(
                bundle.read_graph(name), str(bundle.folder / name), part, spec, device, threads
            )

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
        if self._device == "cuda":
            names = [spec.name for spec in self._bundle.manifest.parts[part].outputs]
            return _BoundPartRun(session.native, feeds, names)
        return HostRun(lambda: session.run(feeds))

    def window(self, kind: WindowKind, window: BenchWindow, pattern: Pattern, sources: int) -> TimedRun:
        if sources > 1:
            raise UsageError("a script runs its sources one by one")
        streams = self._bundle.manifest.streams
        live = [name for name in streams if name in pattern]
        due = {name: batched(window.due(kind, name)) for name in live}
        before = {name: batched(rows) for name in live if (rows := window.before(kind, name))}
        old = {name: self._encode(name, calls) for name, calls in before.items()}

        def run() -> Mapping[str, Array]:
            features: dict[str, Array] = {}
            for name, calls in due.items():
                new = self._encode(name, calls)
                steps = np.concatenate([old[name], new]) if name in old else new
                features[name] = steps[-streams[name].max_steps :]
            return self._sessions[HEAD].run(self._head_feeds(features))

        return HostRun(run)

    def ceilings(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def _encode(self, stream: str, calls: Calls) -> Array:
        """The features of some rows, (T, D); the steps of a chunk's context are cut away."""
        spec = self._bundle.manifest.streams[stream]
        return encode_calls(lambda part, feeds: self._sessions[part].run(feeds), stream, spec, calls)

    def _head_feeds(self, features: Mapping[str, Array]) -> dict[str, Array]:
        """The features (T, D) of the live streams, and what stands for the others."""
        manifest = self._bundle.manifest
        feeds: dict[str, Array] = {}
        for name, spec in manifest.streams.items():
            live = name in features
            values = features[name] if live else self._bundle.tokens[name].astype(np.float32)
            feeds[name] = values[None]
            if manifest.head.masks:
                feeds[f"{name}_mask"] = np.full((1, len(values)), 1 if live else spec.missing.mask, np.int32)
        return feeds


class _BoundPartRun(WithoutDeviceTimes):
    """A `TimedRun` of a part whose inputs and outputs stay on the GPU."""

    def __init__(self, session: Any, feeds: Mapping[str, Array], outputs: list[str]) -> None:
        import onnxruntime

        self._session, self._binding, self._names = session, session.io_binding(), outputs
        for name, value in feeds.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
        for name in outputs:
            self._binding.bind_output(name, "cuda", 0)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> Array:
        values: list[Array] = self._binding.copy_outputs_to_cpu()
        return joined_outputs(dict(zip(self._names, values, strict=True)))

    def close(self) -> None:
        self._binding = None
