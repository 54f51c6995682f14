"""Which forms of each precision a target is offered, by what the processor and the bundle have."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Flavour
from taemi_edge.bundle.records import SessionPlan
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.engines.variants import missing_flavours, variants_of, why_it_is_not_as_judged
from taemi_edge.runtime import processor
from taemi_edge.runtime.processor import Processor

ALL: tuple[Flavour, ...] = ("fp32", "fp16", "int8", "int8-u8", "int8-dynamic", "int8-fp16")
OLD: tuple[Flavour, ...] = ("fp32", "fp16", "int8", "int8-fp16")


@pytest.fixture
def become(monkeypatch):
    def be(exact: bool, architecture: str = "x86_64", *names: str) -> None:
        found = Processor(architecture=architecture, features=frozenset(names))
        monkeypatch.setattr(processor, "kernels_are_exact", lambda: exact)
        monkeypatch.setattr(processor, "features", lambda: found)

    return be


def having(bundle: Bundle, flavours: tuple[Flavour, ...]) -> Bundle:
    graphs: Mapping[str, Mapping[Flavour, str]] = {"text": {flavour: f"text.{flavour}.onnx" for flavour in flavours}}
    return Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, graphs=graphs), {})


def cpu(**changes: object) -> TargetRecipe:
    return TargetRecipe(name="cpu", backend="onnxruntime-cpu", **changes)


def names(target: TargetRecipe, bundle: Bundle, precision: str = "int8") -> list[str]:
    return [v.name for v in variants_of(target, bundle, "text", precision)]


def test_with_exact_kernels_every_flavour_is_offered_once(tiny: Bundle, become):
    become(True)
    found = variants_of(cpu(), having(tiny, ALL), "text", "int8")
    assert [v.name for v in found] == ["int8", "int8-u8", "int8-dynamic"]
    assert {v.session for v in found} == {SessionPlan(exact_kernels=True)}
    assert [v.fused().name for v in found] == ["int8 fused", "int8-u8, fused", "int8-dynamic, fused"]


def test_where_kernels_saturate_none_is_offered_that_could(tiny: Bundle, become):
    become(False)
    found = variants_of(cpu(), having(tiny, ALL), "text", "int8")
    assert [v.name for v in found] == [
        "int8 unsigned weights",
        "int8 7-bit weights",
        "int8 as written",
        "int8-u8, unsigned weights",
        "int8-u8, 7-bit weights",
        "int8-dynamic, unsigned weights",
        "int8-dynamic, 7-bit weights",
    ]
    assert not any(v.session is None or v.session.exact_kernels for v in found)
    assert all(v.session.unsigned_weights or v.session.as_written or v.has_seven_bits for v in found)
    assert {v.level for v in found if v.has_seven_bits} == {3.5}, "a lower precision than INT8 itself"


def test_a_target_leaves_forms_out(tiny: Bundle, become):
    become(True)
    assert names(cpu(forms=("int8-dynamic", "fused")), having(tiny, ALL)) == ["int8-dynamic"]
    assert names(cpu(forms=()), having(tiny, ALL)) == ["int8"], "of a precision at least one form is left"
    become(False)
    forms = ("int8-dynamic", "unsigned weights")
    assert names(cpu(forms=forms), having(tiny, ALL)) == ["int8-dynamic, unsigned weights"]


def test_what_an_older_calibration_did_not_make_is_known(tiny: Bundle, become):
    become(True)
    assert names(cpu(), having(tiny, OLD)) == ["int8"]
    assert [v.name for v in missing_flavours(cpu(), having(tiny, OLD), "text")] == ["int8-u8", "int8-dynamic"]
    assert missing_flavours(cpu(), having(tiny, ALL), "text") == []
    assert missing_flavours(cpu(), having(tiny, ("fp32",)), "text") == [], "it was never calibrated"
    assert missing_flavours(cpu(forms=("fused",)), having(tiny, OLD), "text") == []


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (("aarch64", "asimd", "bf16"), "bf16 products"),
        (("arm64", "bf16"), "bf16 products"),
        (("aarch64", "asimd"), "bf16"),
        (("x86_64", "avx512_bf16"), "bf16"),
    ],
)
def test_products_in_bf16_are_offered_on_arm_with_instructions_for_them(tiny: Bundle, become, machine, expected):
    become(True, *machine)
    assert names(cpu(), having(tiny, ALL), "bf16") == [expected]


@pytest.mark.parametrize(("features", "skipped"), [(("asimd", "sme"), {"int8-dynamic"}), (("asimd", "sve2"), set())])
def test_a_flavour_that_sme_computes_otherwise_is_left_out(tiny: Bundle, become, features, skipped):
    become(True, "aarch64", *features)
    found = variants_of(cpu(), having(tiny, ALL), "text", "int8")
    assert {v.name for v in found if why_it_is_not_as_judged(v)} == skipped


def test_other_targets_have_one_variant_of_each_precision(tiny: Bundle, become):
    become(False)
    for backend in ("tensorrt", "onnxruntime-cuda"):
        [found] = variants_of(TargetRecipe(name="gpu", backend=backend), having(tiny, ALL), "text", "int8")
        assert (found.name, found.session) == ("int8", None)
