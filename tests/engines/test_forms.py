"""The forms of a precision on a processor: built, timed and kept with what they are opened with."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are rewritten with onnx")
from onnx import numpy_helper

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest, write_manifest
from taemi_edge.bundle.precisions import HOST_FLAVOURS
from taemi_edge.bundle.records import Candidate, SessionPlan
from taemi_edge.engines import build, choose, graph_changes, part_builder
from taemi_edge.engines.build import build_engine, rebuild_if_foreign
from taemi_edge.engines.cache import EngineCache
from taemi_edge.errors import EngineError
from taemi_edge.parity.comparison import check_parity
from taemi_edge.runtime import onnx_sessions, processor
from taemi_edge.runtime.opening import open_sessions
from tests.conftest import FEW_CLIPS
from tests.engines.targets import CPU, target
from tests.made_once import made_once


@pytest.fixture
def rewritten(monkeypatch) -> list[str]:
    """Stands in for what rewrites graphs: it changes nothing, and finds nothing to fuse in the text's; says of what."""
    asked: list[str] = []

    def change(graph: bytes, variant, part: str) -> bytes:
        asked.extend([f"{part} {variant.name}"] if variant.ways else [])
        if variant.is_fused and part == "text":
            raise EngineError("text: expected nodes that can be fused, found none")
        return graph

    monkeypatch.setattr(part_builder, "changed_graph", change)
    return asked


@pytest.fixture
def saturating(monkeypatch) -> None:
    monkeypatch.setattr(processor, "kernels_are_exact", lambda: False)


def of_part(candidates: tuple[Candidate, ...], part: str) -> dict[str, Candidate]:
    return {c.name: c for c in candidates if c.part == part}


@pytest.fixture(scope="session")
def older(calibrated: Bundle, tmp_path_factory) -> Path:
    """The calibrated bundle as an older version made it: without the graphs that processors want."""
    folder = Path(shutil.copytree(calibrated.folder, tmp_path_factory.mktemp("older") / "bundle"))
    manifest = read_manifest(folder)
    gone = {file for by in manifest.graphs.values() for flavour, file in by.items() if flavour in HOST_FLAVOURS}
    for name in gone:
        (folder / name).unlink()
    graphs = {p: {f: n for f, n in by.items() if f not in HOST_FLAVOURS} for p, by in manifest.graphs.items()}
    write_manifest(folder, msgspec.structs.replace(manifest, graphs=graphs))
    return folder


def test_auto_says_of_each_form_why_it_was_not_kept(older, tmp_path, rewritten):
    record = build_engine(older, target(**CPU), "auto", tmp_path / "o", threads=1, cache=None).record
    text, vision = of_part(record.candidates, "text"), of_part(record.candidates, "vision")
    assert text["fp32 fused"].reason == "text: expected nodes that can be fused, found none"
    assert vision["fp32 fused"].median_ms, "it was built and timed"
    for flavour in HOST_FLAVOURS:
        assert vision[flavour].reason.startswith("skipped: the bundle has no such graph")
    assert "int8 fused" in vision
    assert all(c.reason for c in record.candidates)


@pytest.mark.parametrize("exact", [True, False])
def test_flavours_that_are_one_graph_are_built_once(calibrated, tmp_path, rewritten, monkeypatch, exact):
    """Without Linears there is no range that could be found in each run."""
    monkeypatch.setattr(processor, "kernels_are_exact", lambda: exact)
    optimised = []
    real = onnx_sessions.optimise
    monkeypatch.setattr(
        onnx_sessions, "optimise", lambda source, file, **k: optimised.append(file.name) or real(source, file, **k)
    )
    folder = Path(shutil.copytree(calibrated.folder, tmp_path / "bundle"))
    names = calibrated.manifest.graphs["text"]
    shutil.copyfile(folder / names["int8-u8"], folder / names["int8-dynamic"])
    write_manifest(folder, read_manifest(folder))
    words = '"unsigned weights", "7-bit weights"'
    recipe = target(**CPU, forms=f'["int8-u8", "int8-dynamic", {words}]')
    record = build_engine(folder, recipe, "int8", tmp_path / "o", threads=1, cache=None).record
    text = of_part(record.candidates, "text")
    twins = {name: c for name, c in text.items() if name.startswith("int8-dynamic")}
    assert len(twins) == (1 if exact else 2)
    for name, candidate in twins.items():
        first = name.replace("dynamic", "u8")
        assert (candidate.reason, candidate.median_ms) == (f"skipped: it is the same as {first}", None)
    assert not any(name.startswith("text-int8-dynamic") for name in optimised)
    assert sum(name.startswith("text-int8-u8") for name in optimised) == len(twins)


def test_of_a_precision_by_its_name_the_fastest_form_is_taken(older, tmp_path, rewritten):
    built = build_engine(older, target(**CPU), "fp32", tmp_path / "o", threads=1, cache=None)
    vision = of_part(built.record.candidates, "vision")
    assert list(vision) == ["fp32", "fp32 fused"]
    [kept] = [c for c in vision.values() if c.kept]
    assert kept.median_ms == min(c.median_ms for c in vision.values())
    assert kept.reason == "chosen by --precision fp32, the fastest of its forms"
    assert built.record.sessions is msgspec.UNSET, "older versions read engines in FP32 as before"
    text = of_part(built.record.candidates, "text")
    assert (text["fp32"].kept, text["fp32"].reason) == (True, "chosen by --precision fp32")


def test_a_target_without_forms_builds_as_before(older, tmp_path, rewritten):
    recipe = target(**CPU, forms="[]")
    record = build_engine(older, recipe, "fp32", tmp_path / "o", threads=1, cache=None).record
    assert not rewritten
    assert [(c.name, c.median_ms) for c in record.candidates] == [("fp32", None)] * 4
    assert '"form"' not in (tmp_path / "o/manifest.json").read_text(), "older versions do not know the word"


def test_without_onnx_what_asks_for_it_is_left_out(older, tmp_path, monkeypatch):
    monkeypatch.setattr(graph_changes, "find_spec", lambda name: None)
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    record = build_engine(older, target(**CPU), "auto", tmp_path / "o", threads=1, cache=None).record
    fused = of_part(record.candidates, "vision")["fp32 fused"]
    assert fused.reason.startswith("building vision in fp32 fused needs the package 'onnx', which is not installed")


def test_where_kernels_saturate_int8_is_built_so_that_its_sums_are_right(
    older, tmp_path, rewritten, saturating, monkeypatch
):
    built = build_engine(older, target(**CPU), "int8", tmp_path / "o", threads=1, cache=None)
    names = {c.name for c in built.record.candidates if c.median_ms}
    assert {"int8 unsigned weights", "int8 7-bit weights", "int8 as written"} <= names
    assert "int8" not in names
    assert set(built.record.sessions) == set(built.bundle.manifest.part_names)
    assert not any(plan.exact_kernels for plan in built.record.sessions.values())
    monkeypatch.setattr(processor, "kernels_are_exact", lambda: True)
    with open_sessions(open_bundle(tmp_path / "o"), threads=1):
        pass  # its sums are right anywhere


def weights_of(file: Path) -> list[np.ndarray]:
    """The signed weights of eight bits that an engine for a processor holds."""
    values = [numpy_helper.to_array(t) for t in onnx.load(str(file)).graph.initializer]
    return [value for value in values if value.dtype == np.int8 and value.size > 1 and value.any()]


@pytest.mark.parametrize("flavour", ["int8", "int8-u8", "int8-dynamic"])
def test_weights_of_seven_bits_are_built_of_every_flavour(calibrated, tmp_path, saturating, flavour):
    recipe = target(**CPU, forms=f'["{flavour}", "7-bit weights"]')
    built = build_engine(calibrated.folder, recipe, "int8", tmp_path / "o", threads=1, cache=None)
    assert set(built.record.sessions.values()) == {SessionPlan()}
    for part in built.bundle.manifest.part_names:
        weights = weights_of(built.bundle.part_file(part))
        assert weights, f"{part} has no integer kernel"
        assert all(value.min() >= -64 and value.max() <= 63 for value in weights)
    assert check_parity(str(built.bundle.folder), threads=1)[0].ok is built.bundle.manifest.verified


def test_an_engine_that_would_saturate_is_built_anew(older, tmp_path, rewritten, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(processor, "kernels_are_exact", lambda: True)
    recipe = target(**CPU, forms='["int8"]')
    built = build_engine(older, recipe, "int8", tmp_path / "o", threads=1, cache=EngineCache())
    assert built.record.session_plan("text") == SessionPlan(exact_kernels=True)
    assert rebuild_if_foreign(built.bundle) is built.bundle
    monkeypatch.setattr(processor, "kernels_are_exact", lambda: False)
    with pytest.raises(EngineError, match="integer kernels add up exactly, and they saturate on this one"):
        open_sessions(built.bundle, threads=1)
    monkeypatch.setattr(build, "find_graphs", lambda bundle: older)
    anew = rebuild_if_foreign(built.bundle)
    assert anew.manifest.engine.machine["integer_sums"] == "saturating"
    assert not any(plan.exact_kernels for plan in anew.manifest.engine.sessions.values())
    report, _ = check_parity(str(anew.folder), threads=1)
    assert report.ok is anew.manifest.verified


def test_a_candidate_that_fails_on_golden_feeds_is_left_out(older, tmp_path, rewritten, monkeypatch):
    from taemi_edge.engines import measuring
    from taemi_edge.errors import BackendError

    real = measuring.check_part

    def check(run, part, *rest):
        if part == "vision" and not tried:
            tried.append(part)
            raise BackendError("vision: ONNX Runtime failed: no such shape")
        return real(run, part, *rest)

    tried: list[str] = []
    monkeypatch.setattr(measuring, "check_part", check)
    record = build_engine(older, target(**CPU), "auto", tmp_path / "o", threads=1, cache=None).record
    failed = of_part(record.candidates, "vision")["fp32"]
    assert (failed.kept, failed.median_ms) == (False, None)
    assert failed.reason == "cannot be run: vision: ONNX Runtime failed: no such shape"


@pytest.fixture(scope="session")
def calibrated_mobile(corpus_folder: Path, mobile_folder: Path, tmp_path_factory) -> Path:
    """The mobile bundle, calibrated on those clips; any accuracy will do, so that no block is measured."""

    def make(folder: Path) -> None:
        from taemi_edge.bundle.recipe import load_recipe
        from taemi_edge.calibration.calibrate import calibrate_bundle
        from taemi_edge.calibration.recipe import CalibrationRecipe
        from taemi_edge.taemi.vidmimic2 import open_corpus

        few = {**FEW_CLIPS, "clips": "4", "held_out": "2", "trial_clips": "1", "budget.pearson": "0.1"}
        recipe = load_recipe("calibration", "taemi-mobile", CalibrationRecipe, few)
        calibrate_bundle(mobile_folder, open_corpus(corpus_folder), recipe, folder, workers=1)

    return made_once("calibrated/taemi-mobile", make, tmp_path_factory)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("exact", [True, False])
def test_every_form_of_taemi_mobile_is_built_and_runs(calibrated_mobile, tmp_path, monkeypatch, exact):
    """Where kernels are exact, and as on a processor that saturates: there no form needs exact kernels."""
    if exact and not processor.kernels_are_exact():
        pytest.skip("integer kernels saturate here")
    monkeypatch.setattr(processor, "kernels_are_exact", lambda: exact)
    built = build_engine(calibrated_mobile, target(**CPU), "int8", tmp_path / "o", threads=1, cache=None)
    ways = [""] if exact else [", unsigned weights", ", 7-bit weights"]
    for part in built.bundle.manifest.part_names:
        found = of_part(built.record.candidates, part)
        for way in ways:
            assert found[f"int8-u8{way}"].median_ms
            if part == "vision":
                assert found[f"int8-dynamic{way}"].reason == f"skipped: it is the same as int8-u8{way}"
            else:
                assert found[f"int8-dynamic{way}"].median_ms
    assert exact or not any(plan.exact_kernels for plan in built.record.sessions.values())
    assert check_parity(str(built.bundle.folder), threads=1)[0].ok is built.bundle.manifest.verified
