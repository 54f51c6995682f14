"""A device is asked for a precision before anything is built, and says in one sentence what it has not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from taemi_edge.engines import compiler as compiler_module
from taemi_edge.engines.abilities import missing_precisions, why_it_is_no_speed
from taemi_edge.engines.compiler import Compiler
from taemi_edge.engines.plan import plan_build
from taemi_edge.errors import UsageError
from taemi_edge.runtime.tensorrt.machine import Machine
from tests.cli.checks import refused
from tests.engines.targets import target

#: As far as it is asked: TensorRT 8.6 has a name for FP8, no strong typing and no BF16 (its Python bindings of 8.6.1).
TENSORRT_8_6 = SimpleNamespace(
    __version__="8.6.1",
    NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
    BuilderFlag=SimpleNamespace(FP16=0, FP8=1),
    DataType=SimpleNamespace(FLOAT=0, HALF=1, FP8=2),
)
TENSORRT_10 = SimpleNamespace(
    __version__="10.13.3.9",
    NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1),
    BuilderFlag=SimpleNamespace(FP16=0, FP8=1),
    DataType=SimpleNamespace(FLOAT=0, HALF=1, FP8=2, BF16=3),
)


def missing(library: SimpleNamespace, sm: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(compiler_module, "trt", library, raising=False)
    asked = Compiler.__new__(Compiler)
    asked.kind = "tensorrt"
    return missing_precisions(target("tensorrt"), Machine(architecture="aarch64", gpu="Orin", sm=sm), asked)


@pytest.mark.parametrize(
    ("sm", "lacks"),
    [
        ("7.5", {"bf16", "fp8"}),
        ("8.0", {"fp8"}),
        ("8.7", {"fp8"}),
        ("8.9", set()),
        ("9.0", set()),
        ("10.0", set()),
        ("11.0", set()),
        ("12.0", set()),
        ("12.1", set()),
    ],
    ids=["Turing", "Ampere", "Orin", "Ada", "Hopper", "Blackwell", "Thor", "Blackwell RTX", "Spark"],
)
def test_the_gpu_decides(sm, lacks, monkeypatch):
    assert set(missing(TENSORRT_10, sm, monkeypatch)) == lacks


def test_orin_is_told_to_use_int8(monkeypatch):
    assert missing(TENSORRT_10, "8.7", monkeypatch)["fp8"] == (
        "--precision fp8 needs compute capability 8.9 or later (Ada, Hopper, Blackwell, Thor), Orin has 8.7: use int8"
    )


def test_no_later_library_is_advised_where_the_gpu_lacks_a_precision(monkeypatch):
    """JetPack 6.0 has TensorRT 8.6: an Orin has no FP8 with any other either."""
    assert missing(TENSORRT_8_6, "8.7", monkeypatch)["fp8"].endswith("Orin has 8.7: use int8")


def test_the_library_decides_whatever_the_gpu_has(monkeypatch):
    found = missing(TENSORRT_8_6, "9.0", monkeypatch)
    assert set(found) == {"bf16", "fp8"}
    assert "strong typing and FP8 (10 or later), found tensorrt 8.6.1: use int8" in found["fp8"]


def test_nothing_is_built_where_the_target_lacks_it(cli, calibrated_folder, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for x86-64 (extra `rtx`)")
    words = ("build-engine", calibrated_folder, "--target", "rtx", "--precision", "fp8", "--output", tmp_path / "o")
    refused(cli(*words), "or later (Ada, Hopper, Blackwell, Thor), --target rtx is for 8.6: use int8")
    assert list(tmp_path.iterdir()) == []
    assert plan_build(calibrated_folder, target("rtx-ada"), "fp8", 1).missing == {}
    with pytest.raises(UsageError, match=r"8\.0 or later .*: use fp16"):
        plan_build(calibrated_folder, target("rtx", sm='"7.5"'), "bf16", 1)


def test_onnx_runtime_promises_no_speed():
    assert why_it_is_no_speed(target(), "int8") == ""
    assert "no speed" in why_it_is_no_speed(target(), "bf16")
    assert "would make it fast" in why_it_is_no_speed(target("cuda"), "fp8")
    assert why_it_is_no_speed(target("tensorrt"), "fp8") == ""
