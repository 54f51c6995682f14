"""A part of an ONNX bundle on ONNX Runtime, on the CPU or through CUDA."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from taemi_edge.bundle import Bundle
from taemi_edge.errors import BackendError, UsageError
from taemi_edge.spec import Array

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OrtSession:
    """Implements `taemi_edge.runtime.session.Session`.

    Raises:
        UsageError: ONNX Runtime was not built for the device.
        BackendError: the graph cannot be loaded, or its seams are not the manifest's.
    """

    def __init__(self, bundle: Bundle, part: str, device: str = "cpu", threads: int = 0) -> None:
        self._part = part
        self._spec = bundle.manifest.parts.of(part)
        self._outputs = [output.name for output in self._spec.outputs]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning workers win microseconds and burn a core between hops: on a device that decodes video they cost more.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        _require_provider(device)
        try:
            self._session = onnxruntime.InferenceSession(
                str(bundle.part_file(part)), options, providers=[_PROVIDERS[device]]
            )
        except Exception as error:
            raise BackendError(
                f"{bundle.part_file(part)}: ONNX Runtime cannot open it: {_first_line(error)}"
            ) from error
        used = self._session.get_providers()[0]
        if used != _PROVIDERS[device]:
            raise UsageError(
                f"--device {device}: ONNX Runtime fell back to {used}; check the CUDA libraries with `nvidia-smi` and "
                f"`python -c 'import onnxruntime; onnxruntime.preload_dlls()'`, or use --device cpu"
            )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if problems := self._spec.feed_problems(feeds):
            raise BackendError(f"{self._part}: {'; '.join(problems)}")
        try:
            values = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise BackendError(f"{self._part}: ONNX Runtime failed: {_first_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        self._session = None


def _require_provider(device: str) -> None:
    available = onnxruntime.get_available_providers()
    if _PROVIDERS[device] not in available:
        raise UsageError(
            f"--device {device} needs ONNX Runtime with {_PROVIDERS[device]}, which offers {', '.join(available)}: "
            f"run `pip uninstall onnxruntime && pip install onnxruntime-gpu`, or use --device cpu"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
