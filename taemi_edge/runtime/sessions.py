"""The one seam to a backend: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Protocol

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PARTS, Array
from taemi_edge.errors import EngineError, UsageError

Device = Literal["cpu", "cuda", "tensorrt"]
_DEVICES: dict[str, Device] = {
    "onnxruntime-cpu": "cpu",
    "onnxruntime-cuda": "cuda",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt",
}


class Session(Protocol):
    """One part of a bundle, ready to run."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Names, dtypes and shapes are those of the part's `PartSpec`.

        Raises:
            BackendError: the feeds do not fit, or the backend failed.
        """
        ...

    def close(self) -> None: ...


class Sessions:
    """The four parts of a bundle on one device; a context manager.

    Args:
        release: called once after all parts are closed: what they share goes then.
    """

    def __init__(self, parts: Mapping[str, Session], release: Callable[[], None] = lambda: None) -> None:
        self._parts = dict(parts)
        self._release = release

    def __getitem__(self, part: str) -> Session:
        return self._parts[part]

    def close(self) -> None:
        for session in self._parts.values():
            session.close()
        self._parts.clear()
        self._release()
        self._release = lambda: None

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def device_of(bundle: Bundle) -> Device:
    """Where a bundle runs if nothing else is said: what its engines were built for, else the CPU."""
    engine = bundle.manifest.engine
    return _DEVICES[engine.backend] if engine is not None else "cpu"


def require_verified(bundle: Bundle, unverified: bool = False) -> None:
    """Refuse engines that parity has not passed.

    Raises:
        EngineError: the manifest says so; the message has what failed.
    """
    manifest = bundle.manifest
    if manifest.engine is None or manifest.verified or unverified:
        return
    raise EngineError(
        f"{bundle.folder}: expected verified engines, but {manifest.engine.failure or 'parity was not run'}: "
        f"build them anew, or pass --unverified to run them all the same"
    )


def require_device(bundle: Bundle, device: Device | None) -> Device:
    """The device that a bundle is to run on: the one that is asked for, if it can, else what it was built for.

    Raises:
        UsageError: TensorRT's engines elsewhere, graphs on TensorRT, or a device that is none.
    """
    device = device or device_of(bundle)
    if device not in ("cpu", "cuda", "tensorrt"):
        raise UsageError(f"expected the device cpu, cuda or tensorrt, got {device!r}")
    has_engines = any(bundle.manifest.parts.of(part).file.endswith(".engine") for part in PARTS)
    if has_engines != (device == "tensorrt"):
        raise UsageError(
            f"{bundle.folder} holds TensorRT engines: leave --device {device} away, or name an ONNX bundle"
            if has_engines
            else f"--device tensorrt: {bundle.folder} holds ONNX graphs: run `taemi-edge build-engine {bundle.folder} "
            f"--target tensorrt` first, and name the bundle that it makes"
        )
    return device
