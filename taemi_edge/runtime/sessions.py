"""The interface to a backend that runs one part of a bundle: it takes named arrays and gives named arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Protocol

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BundleError, EngineError, UsageError

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
        """Run once.

        Args:
            feeds: the inputs by name; names, dtypes and shapes are those of the part's `PartSpec`.

        Returns:
            The outputs by name.

        Raises:
            BackendError: the feeds do not fit, or the backend failed.
        """
        ...

    def close(self) -> None:
        """Free the part."""


class Sessions:
    """The parts of a bundle on one device, by name; a context manager.

    Args:
        parts: a session for each part; they are closed with this object.
        release: called once after all parts are closed, to free what they share.
    """

    def __init__(self, parts: Mapping[str, Session], release: Callable[[], None] = lambda: None) -> None:
        self._parts = dict(parts)
        self._release = release

    def __getitem__(self, part: str) -> Session:
        return self._parts[part]

    def mixes_rows(self, part: str) -> bool:
        """Whether the rows of a batch change each other's results, so that each wants a call of its own."""
        return bool(getattr(self._parts[part], "mixes_rows", False))

    def close(self) -> None:
        """Close all parts, then free what they share."""
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
    """Where a bundle runs by default: what its engines were built for, or the CPU.

    Raises:
        BundleError: its engines were built for something that nothing here runs.
    """
    engine = bundle.manifest.engine
    if engine is None:
        return "cpu"
    if engine.backend not in _DEVICES:
        known = ", ".join(_DEVICES)
        raise BundleError(
            f"{bundle.folder}: expected engines of {known}, got the backend {engine.backend!r}: build them anew with "
            "`taemi-edge build-engine`"
        )
    return _DEVICES[engine.backend]


def require_verified(bundle: Bundle, unverified: bool = False) -> None:
    """Refuse engines that parity has not passed.

    Args:
        unverified: let them run all the same.

    Raises:
        EngineError: the manifest says that they are not verified; the message says what failed.
    """
    manifest = bundle.manifest
    if manifest.engine is None or manifest.verified or unverified:
        return
    raise EngineError(
        f"{bundle.folder}: expected verified engines, but {manifest.engine.failure or 'parity was not run'}: "
        f"build them anew, or pass --unverified to run them all the same"
    )


def require_device(bundle: Bundle, device: Device | None) -> Device:
    """The device that a bundle will run on.

    Args:
        device: the wanted one; None takes what the bundle was built for.

    Raises:
        UsageError: TensorRT engines on another device, graphs on TensorRT, or an unknown device.
    """
    device = device or device_of(bundle)
    if device not in ("cpu", "cuda", "tensorrt"):
        raise UsageError(f"expected the device cpu, cuda or tensorrt, got {device!r}")
    has_engines = any(part.file.endswith(".engine") for part in bundle.manifest.parts.values())
    if has_engines != (device == "tensorrt"):
        raise UsageError(
            f"{bundle.folder} holds TensorRT engines: leave --device {device} away, or name an ONNX bundle"
            if has_engines
            else f"--device tensorrt: {bundle.folder} holds ONNX graphs: run `taemi-edge build-engine {bundle.folder} "
            f"--target tensorrt` first, and name the bundle that it makes"
        )
    return device
