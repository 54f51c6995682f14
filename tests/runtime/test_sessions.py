"""The parts of a bundle on one device, and which device that is."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BundleError, UsageError
from taemi_edge.runtime.sessions import Sessions, device_of, require_device


class ClosingSession:
    """Notes when it is closed."""

    def __init__(self, closed: list[str], name: str) -> None:
        self._closed, self._name = closed, name

    def run(self, feeds):
        return dict(feeds)

    def close(self) -> None:
        self._closed.append(self._name)


def test_what_parts_share_is_released_once_after_them():
    closed: list[str] = []
    parts = {name: ClosingSession(closed, name) for name in ("vision", "fusion")}
    with Sessions(parts, lambda: closed.append("device")) as sessions:
        assert sessions["fusion"].run({"x": 1}) == {"x": 1}
    sessions.close()
    assert closed == ["vision", "fusion", "device"]


def test_graphs_run_on_the_processor_by_default(tiny: Bundle):
    assert device_of(tiny) == require_device(tiny, None) == "cpu"


def test_engines_run_on_tensorrt_by_default_and_nowhere_else(engines: Bundle):
    assert require_device(engines, None) == "tensorrt"
    with pytest.raises(UsageError, match="holds TensorRT engines: leave --device cpu away"):
        require_device(engines, "cpu")


def test_engines_of_an_unknown_backend_are_refused(engines: Bundle):
    record = msgspec.structs.replace(engines.manifest.engine, backend="npu")
    strange = dataclasses.replace(engines, manifest=msgspec.structs.replace(engines.manifest, engine=record))
    with pytest.raises(BundleError, match="expected engines of onnxruntime-cpu, .*, got the backend 'npu': build them"):
        device_of(strange)


def test_an_unknown_device_is_named(tiny: Bundle):
    with pytest.raises(UsageError, match="expected the device cpu, cuda or tensorrt, got 'npu'"):
        require_device(tiny, "npu")
