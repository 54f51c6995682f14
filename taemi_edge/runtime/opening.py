"""Opens a bundle on a device; this is the one place that chooses between ONNX Runtime and TensorRT."""

from __future__ import annotations

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.sessions import Device, Sessions, require_device
from taemi_edge.runtime.work import Executor, Layout


def open_executor(
    bundle: Bundle, layout: Layout, device: Device | None = None, threads: int = 0, *, timed: bool = False
) -> Executor:
    """Open an executor, which runs whole hops of several sources.

    With TensorRT engines everything stays on the GPU; else ONNX Runtime runs each part.

    Args:
        layout: how many sources there are, and how long their windows and hops are.
        device: see `open_sessions`.
        threads: see `open_sessions`.
        timed: whether the parts of every hop are timed. ONNX Runtime times them anyhow; TensorRT those of every 16th
            hop otherwise.

    Raises:
        UsageError, EngineError, BackendError: see `open_sessions`.
    """
    chosen = require_device(bundle, device)
    if chosen == "tensorrt":
        from taemi_edge.runtime.tensorrt.executor import TrtExecutor

        return TrtExecutor(bundle, layout, timed=timed)
    return HostExecutor(bundle, layout, open_sessions(bundle, chosen, threads), chosen)


def open_sessions(bundle: Bundle, device: Device | None = None, threads: int = 0) -> Sessions:
    """Open every part of a bundle as a session that takes and gives arrays.

    Args:
        device: where to run; "cuda" needs onnxruntime-gpu, "tensorrt" a bundle of engines. By default what the bundle
            was built for.
        threads: threads per part, 0 for as many as there are cores.

    Raises:
        UsageError: the device is not there, or the bundle is for another one.
        EngineError: engines of another library, GPU or driver.
        BackendError: a part cannot be opened.
    """
    device = require_device(bundle, device)
    if device == "tensorrt":
        from taemi_edge.runtime.tensorrt.engine import open_engines

        return open_engines(bundle)
    from taemi_edge.runtime.onnx_sessions import OrtSession, require_same_library

    require_same_library(bundle)
    return Sessions({part: OrtSession(bundle, part, device, threads) for part in bundle.manifest.part_names})
