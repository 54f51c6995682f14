"""The one seam to a backend: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol

from taemi_edge.bundle import Bundle
from taemi_edge.errors import UsageError
from taemi_edge.spec import PARTS, Array

Device = Literal["cpu", "cuda"]


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
    """The four parts of a bundle on one device; a context manager."""

    def __init__(self, parts: Mapping[str, Session]) -> None:
        self._parts = dict(parts)

    def __getitem__(self, part: str) -> Session:
        return self._parts[part]

    def close(self) -> None:
        for session in self._parts.values():
            session.close()
        self._parts.clear()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_sessions(bundle: Bundle, device: Device = "cpu", threads: int = 0) -> Sessions:
    """Open every part of a bundle.

    Args:
        device: where to run; "cuda" needs onnxruntime-gpu.
        threads: threads per part, 0 for as many as there are cores.

    Raises:
        UsageError: the device is not there; the message says what is.
        BackendError: a part cannot be opened.
    """
    from taemi_edge.runtime import ort

    if device not in ("cpu", "cuda"):
        raise UsageError(f"expected the device cpu or cuda, got {device!r}")
    return Sessions({part: ort.OrtSession(bundle, part, device, threads) for part in PARTS})
