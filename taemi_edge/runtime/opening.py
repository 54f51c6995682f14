"""Opens a bundle on a device; this is the one place that chooses between ONNX Runtime and TensorRT."""

from __future__ import annotations

from collections.abc import Sequence

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.host_executor import HostExecutor
from taemi_edge.runtime.host_way import HostWay, way_of
from taemi_edge.runtime.sessions import Device, Sessions, require_device
from taemi_edge.runtime.work import Executor, Layout


def open_executor(
    bundle: Bundle, layout: Layout, device: Device | None = None, threads: int | None = None, *, timed: bool = False
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
    way = way_of(bundle, chosen, threads)
    return HostExecutor(bundle, layout, _open_graphs(bundle, chosen, way), chosen, way)


def open_sessions(
    bundle: Bundle, device: Device | None = None, threads: int | None = None, parts: Sequence[str] | None = None
) -> Sessions:
    """Open every part of a bundle as a session that takes and gives arrays.

    Args:
        device: where to run; "cuda" needs onnxruntime-gpu, "tensorrt" a bundle of engines. By default what the bundle
            was built for.
        threads: of each part, 0 for as many as there are cores. None takes what was measured when the engines were
            built, and all cores where that was not measured. There are never more than cores that may be used.
        parts: those that will be run, by name; by default all of them. TensorRT opens all of them or none.

    Raises:
        UsageError: the device is not there, or the bundle is for another one.
        EngineError: engines of another library, GPU or driver.
        BackendError: a part cannot be opened.
    """
    device = require_device(bundle, device)
    parts = bundle.manifest.part_names if parts is None else parts
    if device == "tensorrt" and parts:
        from taemi_edge.runtime.tensorrt.engine import open_engines

        return open_engines(bundle)
    return _open_graphs(bundle, device, way_of(bundle, device, threads), parts)


def _open_graphs(bundle: Bundle, device: Device, way: HostWay, parts: Sequence[str] | None = None) -> Sessions:
    """Open the parts with ONNX Runtime, the largest first: opening takes several times a part's memory for a while."""
    from taemi_edge.runtime.onnx_sessions import OrtSession, require_same_library

    require_same_library(bundle)
    parts = bundle.manifest.part_names if parts is None else parts
    sizes = {part: bundle.sizes.get(bundle.manifest.parts[part].file, 0) for part in parts}
    opened = {
        part: OrtSession(bundle, part, device, way.threads[part])
        for part in sorted(parts, key=lambda part: -sizes[part])
    }
    return Sessions({part: opened[part] for part in parts})
