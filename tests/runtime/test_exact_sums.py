"""No sum of integers is wrong, on whatever processor: what sessions are opened with, and which engines are refused."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest, write_manifest
from taemi_edge.bundle.records import EngineRecord, SessionPlan
from taemi_edge.errors import BundleError, EngineError
from taemi_edge.runtime import onnx_sessions, processor
from taemi_edge.runtime.onnx_sessions import library_version, session_options
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.processor import Processor

AS_WRITTEN, UNSIGNED = "session.disable_quant_qdq", "session.x64quantprecision"
BF16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"


@pytest.fixture
def become(monkeypatch):
    """Let this processor add up exactly or saturate, and have features."""

    def be(exact: bool, *names: str) -> None:
        found = Processor(architecture="x86_64", name="a test's", features=frozenset(names))
        monkeypatch.setattr(processor, "kernels_are_exact", lambda: exact)
        monkeypatch.setattr(processor, "features", lambda: found)

    return be


def engines(bundle: Bundle, folder: Path, sessions: dict[str, SessionPlan] | msgspec.UnsetType) -> Bundle:
    """The graphs of a bundle as engines of this library for this machine."""
    shutil.copytree(bundle.folder, folder)
    record = EngineRecord(
        target="cpu",
        backend="onnxruntime-cpu",
        library=library_version(),
        machine={"architecture": onnx_sessions.platform.machine(), "processor": "its maker's"},
        source="",
        asked="int8",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
        sessions=sessions,
    )
    write_manifest(folder, msgspec.structs.replace(read_manifest(folder), engine=record, verified=True))
    return open_bundle(folder)


def entries(exact: bool, plan: SessionPlan | None, become) -> set[str]:
    become(exact)
    options = session_options(1, plan=plan)
    found = set()
    for name in (AS_WRITTEN, UNSIGNED, BF16):
        with suppress(RuntimeError):  # ONNX Runtime's way to say that there is no such entry
            found |= {name} if options.get_session_config_entry(name) == "1" else set()
    return found


@pytest.mark.parametrize(
    ("exact", "plan", "expected"),
    [
        (True, None, set()),
        (True, SessionPlan(exact_kernels=True), set()),
        (True, SessionPlan(as_written=True), {AS_WRITTEN}),
        (True, SessionPlan(unsigned_weights=True), {UNSIGNED}),
        (True, SessionPlan(bf16_products=True), {BF16}),
        (False, None, {AS_WRITTEN, UNSIGNED}),
        (False, SessionPlan(), set()),  # weights of seven bits
        (False, SessionPlan(unsigned_weights=True), {UNSIGNED}),
        (False, SessionPlan(as_written=True), {AS_WRITTEN, UNSIGNED}),
    ],
)
def test_where_kernels_saturate_weights_are_unsigned_unless_they_have_seven_bits(become, exact, plan, expected):
    assert entries(exact, plan, become) == expected


def test_engines_that_would_saturate_are_refused_in_one_sentence(tiny: Bundle, tmp_path, become):
    bundle = engines(tiny, tmp_path / "engines", {"text": SessionPlan(exact_kernels=True)})
    become(True)
    with open_sessions(bundle, threads=1):
        pass
    become(False)
    with pytest.raises(EngineError) as caught:
        open_sessions(bundle, threads=1)
    assert str(caught.value) == (
        f"{bundle.folder}: text was built for a processor (its maker's) whose integer kernels add up exactly, and they "
        f"saturate on this one (a test's): build it anew with `taemi-edge build-engine`, or pass --rebuild"
    )


@pytest.mark.parametrize("plan", [SessionPlan(), SessionPlan(unsigned_weights=True), SessionPlan(as_written=True)])
def test_engines_whose_sums_are_right_anywhere_run_anywhere(tiny: Bundle, tmp_path, become, plan):
    bundle = engines(tiny, tmp_path / "engines", {"text": plan})
    for exact in (True, False):
        become(exact)
        with open_sessions(bundle, threads=1):
            pass


def test_products_in_bf16_want_a_processor_that_has_them(tiny: Bundle, tmp_path, become):
    bundle = engines(tiny, tmp_path / "engines", {"text": SessionPlan(bf16_products=True)})
    become(True, "asimd")
    with pytest.raises(EngineError, match=r"that multiplies in BF16, which is missing on this one \(a test's\): build"):
        open_sessions(bundle, threads=1)
    for known in (("asimd", "bf16"), ()):
        become(True, *known)
        with open_sessions(bundle, threads=1):
            pass


def test_what_an_older_version_built_opens_and_adds_up(tiny: Bundle, tmp_path, become, monkeypatch):
    bundle = engines(tiny, tmp_path / "engines", msgspec.UNSET)
    assert "sessions" not in (bundle.folder / "manifest.json").read_text(), "an older version reads it as before"
    become(False)
    asked = []
    real = onnx_sessions.session_options
    monkeypatch.setattr(onnx_sessions, "session_options", lambda *a, **k: asked.append(k["plan"]) or real(*a, **k))
    with open_sessions(bundle, threads=1):
        assert asked == [None] * 4


@pytest.mark.parametrize("words", ['{"exact_kernels": 1}', '{"session.model_external": true}', '"yes"'])
def test_a_manifest_sets_no_other_option(tiny: Bundle, tmp_path, words):
    bundle = engines(tiny, tmp_path / "engines", {"text": SessionPlan(exact_kernels=True)})
    file = bundle.folder / "manifest.json"
    text = file.read_text()
    start = text.index("{", text.index('"sessions"') + len('"sessions": {'))
    file.write_text(text[:start] + words + text[text.index("}", start) + 1 :])
    with pytest.raises(BundleError, match="expected a manifest of schema 2"):
        read_manifest(bundle.folder)
