"""Opening a bundle on a device: the one place that chooses between ONNX Runtime and TensorRT."""

from __future__ import annotations

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PARTS
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.sessions import Device, Sessions, require_device
from taemi_edge.runtime.work import (
    Executor,
    Layout,
)


def open_executor(bundle: Bundle, layout: Layout, device: Device | None = None, threads: int = 0) -> Executor:
    """The way to run a bundle on a device: on the GPU throughout where it holds TensorRT's engines.

    Raises:
        UsageError, EngineError, BackendError: see `taemi_edge.runtime.opening.open_sessions`.
    """
    chosen = require_device(bundle, device)
    if chosen == "tensorrt":
        from taemi_edge.runtime.tensorrt.executor import TrtExecutor

        return TrtExecutor(bundle, layout)
    return HostExecutor(bundle, layout, open_sessions(bundle, chosen, threads), chosen)


def open_sessions(bundle: Bundle, device: Device | None = None, threads: int = 0) -> Sessions:
    """Open every part of a bundle.

    Args:
        device: where to run; "cuda" needs onnxruntime-gpu, "tensorrt" a bundle of engines. By default what the bundle
            was built for.
        threads: threads per part, 0 for as many as there are cores.

    Raises:
        UsageError: the device is not there, or the bundle is not for it; the message says what is.
        EngineError: engines of another library, GPU or driver.
        BackendError: a part cannot be opened.
    """
    device = require_device(bundle, device)
    if device == "tensorrt":
        from taemi_edge.runtime.tensorrt.engine import open_engines

        return open_engines(bundle)
    from taemi_edge.runtime.onnx_sessions import OrtSession, require_same_library

    require_same_library(bundle)
    return Sessions({part: OrtSession(bundle, part, device, threads) for part in PARTS})
