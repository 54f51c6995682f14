"""The contender ONNX Runtime, as most people use it: a session with default options for each part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime

from taemi_edge.bench.feeds import joined_outputs
from taemi_edge.bench.script import ScriptModel
from taemi_edge.bench.timed_model import TimedRun, WithoutDeviceTimes
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Flavour
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError, first_line
from taemi_edge.runtime.onnx_sessions import OrtSession


class OnnxRuntimeModel(ScriptModel):
    """A `taemi_edge.bench.timed_model.TimedModel` of the graphs of a bundle in one flavour.

    On the CPU only the number of threads is set: all other options keep their defaults. On a GPU the options are those
    of this package, which give FP32 without TF32.

    Args:
        device: "cpu" or "cuda".
        flavour: the precision of the graphs.
        threads: threads for each part; 0 takes all cores.

    Raises:
        UsageError: ONNX Runtime lacks the provider or cannot open a graph, or the bundle lacks the flavour.
    """

    def __init__(self, bundle: Bundle, device: str, flavour: Flavour, threads: int) -> None:
        super().__init__(bundle)
        self._device, self._flavour, self._threads = device, flavour, threads
        self._sessions: dict[str, OrtSession | _DefaultSession] = {}
        for part in bundle.manifest.part_names:
            name = bundle.manifest.graph_file(part, flavour)
            if name is None:
                raise UsageError(f"{bundle.folder} has no {flavour} graph of {part}")
            content, where = bundle.read_graph(name), str(bundle.folder / name)
            if device == "cpu":
                self._sessions[part] = _DefaultSession(content, where, threads)
            else:
                spec = bundle.manifest.parts[part]
                self._sessions[part] = OrtSession.from_bytes(content, where, part, spec, device, threads)

    def describe(self) -> dict[str, str]:
        return {
            "library": f"onnxruntime {onnxruntime.__version__}",
            "device": self._device,
            "precision": self._flavour,
            "threads": str(self._threads),
        }

    def run_part(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._sessions[part].run(feeds)

    def part(self, part: str, feeds: Mapping[str, Array]) -> TimedRun:
        session = self._sessions[part]
        if isinstance(session, _DefaultSession):
            return super().part(part, feeds)
        names = [spec.name for spec in self._bundle.manifest.parts[part].outputs]
        return _BoundPartRun(session.native, feeds, names)

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()


class _DefaultSession:
    """An ONNX Runtime session on the CPU with default options but for the threads."""

    def __init__(self, content: bytes, where: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UsageError(f"{where}: ONNX Runtime cannot open it: {first_line(error)}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))

    def close(self) -> None:
        self._session = None


class _BoundPartRun(WithoutDeviceTimes):
    """A `TimedRun` of a part whose inputs and outputs stay on the GPU."""

    def __init__(self, session: Any, feeds: Mapping[str, Array], outputs: list[str]) -> None:
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
