"""Which cuda-bindings can be used, and why none can be."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from taemi_edge.runtime.tensorrt import driver as module
from taemi_edge.runtime.tensorrt.driver import capture, is_capturing, load_driver
from taemi_edge.runtime.tensorrt.timing import DriverMarks


def offer(monkeypatch, known: int, made_for: int, start: int = 0) -> SimpleNamespace:
    """Let cuda-bindings of one CUDA be found on a device whose driver knows another."""
    bindings = SimpleNamespace(
        CUDA_VERSION=made_for,
        CUresult=SimpleNamespace(CUDA_SUCCESS=0),
        cuInit=lambda flags: (start,),
        cuDriverGetVersion=lambda: (0, known),
        cuGetErrorName=lambda status: (0, b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
    )
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", bindings)
    return bindings


@pytest.mark.parametrize(("known", "made_for"), [(12060, 12060), (12060, 12090), (13000, 12090), (13020, 13050)])
def test_bindings_of_the_drivers_cuda_or_an_older_one_are_used(monkeypatch, known: int, made_for: int):
    bindings = offer(monkeypatch, known, made_for)
    assert load_driver() == (bindings, "")


def test_bindings_of_a_newer_cuda_are_one_sentence(monkeypatch):
    offer(monkeypatch, known=12060, made_for=13050)
    driver, problem = load_driver()
    assert driver is None
    assert problem == (
        "cuda-bindings is made for CUDA 13.5 and the driver of this device knows CUDA 12.6: "
        "run `pip install 'cuda-bindings<13'`"
    )


def test_a_driver_that_does_not_start_is_one_sentence(monkeypatch):
    offer(monkeypatch, 12060, 12060, start=803)
    driver, problem = load_driver()
    assert driver is None
    assert "CUDA failed while starting CUDA: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" in problem


class OwnError(Exception):
    """What a package raises that shares no base with anything known."""


@pytest.mark.parametrize("error", [RuntimeError("no libcuda"), OwnError("no libcuda"), AttributeError("no libcuda")])
def test_whatever_the_bindings_raise_is_a_reason(monkeypatch, error: Exception):
    def fail(*_) -> None:
        raise error

    offer(monkeypatch, 12060, 12060).cuInit = fail
    assert "cannot use the driver of this device (no libcuda)" in load_driver()[1]
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.cuda", None)
    monkeypatch.setattr(module.importlib, "import_module", fail)
    assert "cuda-bindings cannot be loaded (no libcuda)" in load_driver()[1]


def test_a_package_without_what_is_called_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", ModuleType("empty"))
    assert "cannot use the driver of this device" in load_driver()[1]


def test_a_capture_is_known_to_its_thread_alone():
    import threading

    seen = []
    with capture():
        thread = threading.Thread(target=lambda: seen.append(is_capturing()))
        thread.start()
        thread.join()
        seen.append(is_capturing())
    assert [*seen, is_capturing()] == [False, True, False]


def test_the_time_between_events_is_asked_by_either_name(gpu, monkeypatch):
    driver = load_driver()[0]
    monkeypatch.setattr(driver, "cuEventElapsedTime_v2", driver.cuEventElapsedTime, raising=False)
    monkeypatch.delattr(driver, "cuEventElapsedTime")
    marks = DriverMarks(driver, ("begin", "end"))
    for name in ("begin", "end"):
        marks.record(name, gpu.stream, capturing=False)
    assert marks.ms("begin", "end") >= 0
