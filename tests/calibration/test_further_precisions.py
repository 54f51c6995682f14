"""FP8 and BF16 are made where they are asked for, and go the way of INT8: plans, blocks left out, budget, parity."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from onnx import TensorProto

from taemi_edge.bundle.folder import RANGES, SENSITIVITY, Bundle
from taemi_edge.bundle.precisions import FLAVOURS, HOST_FLAVOURS
from taemi_edge.bundle.spec import Manifest
from taemi_edge.calibration.budget import budget_fault, describe_misses
from taemi_edge.calibration.calibrate import CalibrationOptions, CalibrationResult, calibrate_bundle
from taemi_edge.calibration.graph_sessions import runnable_graph, runner_of
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.planning import RangesFile
from taemi_edge.calibration.recipe import BudgetRecipe
from taemi_edge.calibration.record import SensitivityFile
from taemi_edge.engines.build import build_engine
from taemi_edge.errors import CalibrationError, RecipeError
from taemi_edge.parity.golden import load_cases
from taemi_edge.taemi.names import PARTS
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.calibration.recipes import few
from tests.cli.checks import refused
from tests.engines.targets import CPU, target

QUICK = {
    "methods": '["minmax"]',
    "alphas": "[0.5]",
    "budget.pearson": "0.9",
    "rows": "64",
    "longest_s": "2.0",
    **dict.fromkeys(("clips", "held_out", "frames_per_clip"), "2"),
    "trial_clips": "1",
}


@pytest.fixture(scope="module")
def made(tiny_folder: Path, corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationResult:
    """The tiny bundle in every precision; attention is quantised in FP8 alone."""
    recipe = few(**QUICK, also='["bf16", "fp8"]', fp8_attention_matmuls="true")
    folder = tmp_path_factory.mktemp("further") / "taemi-tiny"
    with pytest.MonkeyPatch.context() as patch:  # the picture takes longer than all the rest, and test_plot.py draws it
        patch.setattr("taemi_edge.calibration.plot.plot_sensitivity", lambda *_: None)
        return calibrate_bundle(tiny_folder, open_corpus(corpus_folder), recipe, folder, workers=1)


@pytest.fixture(scope="module")
def bundle(made: CalibrationResult) -> Bundle:
    return made.bundle


def test_every_part_is_there_in_every_flavour_and_was_judged(made: CalibrationResult, bundle: Bundle):
    record = bundle.manifest.calibration
    assert set(made.sensitivities) == {"int8", "fp8"}
    for part in PARTS:
        assert tuple(bundle.manifest.graphs[part]) == FLAVOURS
        found = record.closeness[part]
        assert set(found) == set(FLAVOURS) - {"fp32"}
        assert min(found["bf16"].cosine, found["fp8-fp16"].cosine) > 0.9
        assert 0 < found["fp16"].max_abs < found["bf16"].max_abs
    assert set(record.scores) == set(record.pattern_scores) == {"fp32", "fp16", "bf16", "int8", "fp8", *HOST_FLAVOURS}
    assert set(record.further) == {"fp8"}
    assert "powers down to 1e-10" in record.excluded_from("fp8")["audio"]["frontend"]


def test_graphs_hold_the_types_that_they_are_named_for(bundle: Bundle):
    for part in PARTS:
        files = bundle.manifest.graphs[part]
        fp8, bf16 = (Graph.load(bundle.folder / files[flavour]) for flavour in ("fp8-fp16", "bf16"))
        kinds = {tensor.data_type for tensor in fp8.initialisers.values()}
        assert {TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16} <= kinds
        assert TensorProto.INT8 not in kinds
        assert fp8.opset >= 19
        kinds = {tensor.data_type for tensor in bf16.initialisers.values()}
        assert TensorProto.BFLOAT16 in kinds
        assert TensorProto.FLOAT16 not in kinds
        norms = {node.op_type for node in bf16.nodes}
        assert not norms & {"QuantizeLinear"}


def test_attention_may_be_quantised_in_fp8_alone(bundle: Bundle, tiny: Bundle):
    names = {node.name for node in Graph.of_part(tiny, "text").attention_matmuls()}
    assert names
    for flavour, wanted in (("int8", False), ("fp8-fp16", True)):
        graph = Graph.load(bundle.folder / bundle.manifest.graphs["text"][flavour])
        from_pairs = {node.output[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
        found = {all(name in from_pairs for name in node.input) for node in graph.nodes if node.name in names}
        assert found == {wanted}


@pytest.mark.nightly
def test_another_machine_makes_the_same_graphs_of_the_ranges(bundle: Bundle, tiny_folder: Path, tmp_path: Path):
    options = CalibrationOptions(ranges=bundle.folder / RANGES)
    recipe = few(**QUICK, also='["fp8", "bf16"]')
    again = calibrate_bundle(tiny_folder, None, recipe, tmp_path / "again", options=options).bundle
    files = [file for flavours in bundle.manifest.graphs.values() for file in flavours.values()]
    assert {f: again.manifest.sha256[f] for f in files} == {f: bundle.manifest.sha256[f] for f in files}


def test_files_name_the_precision_of_what_they_hold(bundle: Bundle):
    ranges = msgspec.json.decode((bundle.folder / RANGES).read_bytes(), type=RangesFile)
    assert {plan.precision for plan in ranges.further["fp8"].values()} == {"fp8"}
    assert {plan.precision for plan in ranges.parts.values()} == {"int8"}
    sensitivity = msgspec.json.decode((bundle.folder / SENSITIVITY).read_bytes(), type=SensitivityFile)
    assert set(sensitivity.further["fp8"]) == set(PARTS)


def test_a_manifest_without_the_new_precisions_is_written_as_before_there_were_any(calibrated: Bundle):
    """An older version refuses keys that it does not know."""
    record = msgspec.to_builtins(calibrated.manifest.calibration)
    assert "further" not in record
    assert b'"further"' not in (calibrated.folder / RANGES).read_bytes()
    assert b'"precision"' not in (calibrated.folder / RANGES).read_bytes()
    assert b'"further"' not in (calibrated.folder / SENSITIVITY).read_bytes()
    assert msgspec.convert(msgspec.to_builtins(calibrated.manifest), Manifest) == calibrated.manifest
    assert "precisions" not in msgspec.to_builtins(target())


@pytest.mark.parametrize("precision", ["fp8", pytest.param("bf16", marks=pytest.mark.nightly)])
def test_parity_holds_on_this_processor_which_says_that_it_is_no_speed(bundle: Bundle, precision, tmp_path: Path):
    built = build_engine(bundle.folder, target(), precision, tmp_path / "o", threads=1, cache=None)
    assert {stage.stage: stage.cosine > 0.9 for stage in built.report.stages} == {
        **dict.fromkeys((*PARTS, "end-to-end"), True)
    }
    assert {spec.precision for spec in built.bundle.manifest.parts.values()} == {precision}
    assert all(candidate.reason.endswith("for parity, no speed") for candidate in built.record.candidates)


def test_what_is_built_of_bf16_here_rounds_as_the_graph_says(bundle: Bundle, tmp_path: Path):
    """ONNX Runtime's optimisers take no rounding out."""
    built = build_engine(bundle.folder, target(), "bf16", tmp_path / "o", threads=1, cache=None).bundle
    file = bundle.folder / bundle.manifest.graphs["vision"]["bf16"]
    case = next(case for case in load_cases(bundle.golden_file) if case.part == "vision")
    want, got = (
        runner_of(content)(case.feeds) for content in (runnable_graph(file, "bf16"), built.read_part("vision"))
    )
    exact = runner_of(bundle.read_graph(bundle.manifest.graphs["vision"]["fp32"]))(case.feeds)
    (name,) = want
    assert abs(got[name] - want[name]).max() < 0.2 * abs(exact[name] - want[name]).max()


def test_auto_skips_what_this_processor_does_not_have_and_says_so(bundle: Bundle, tmp_path: Path):
    device = target(**CPU, precisions='["fp32", "bf16", "fp8"]')
    built = build_engine(bundle.folder, device, "auto", tmp_path / "o", threads=1, cache=None)
    assert {candidate.precision for candidate in built.record.candidates} == {"fp32", "bf16", "fp8"}
    skipped = [candidate for candidate in built.record.candidates if candidate.precision in ("fp8", "bf16")]
    assert len(skipped) == 2 * len(PARTS)
    assert all(c.reason.startswith("skipped: ONNX Runtime's CPU") and not c.kept and not c.build_s for c in skipped)


def test_a_part_is_held_to_the_budget_in_each_precision(bundle: Bundle):
    record, strict = bundle.manifest.calibration, BudgetRecipe(pearson=0.9999999)
    misses = describe_misses(record, strict)
    assert {"INT8", "FP8", "BF16"} <= {miss.partition(" in ")[2].partition(":")[0] for miss in misses}
    assert any(budget_fault(record, part, strict, "fp8") for part in PARTS)
    assert not any(budget_fault(record, part, strict, "fp16") for part in PARTS)


def test_what_is_asked_for_and_cannot_be_made(cli, calibrated: Bundle, tiny_folder: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match="also"):
        few(also='["fp4"]')
    options = CalibrationOptions(ranges=calibrated.folder / RANGES)
    with pytest.raises(CalibrationError, match="expected ranges of fp8, it has those of int8: calibrate on clips with"):
        calibrate_bundle(tiny_folder, None, few(also='["fp8"]'), tmp_path / "out", options=options)
    words = ("build-engine", calibrated.folder, "--target", "cpu", "--precision", "fp8", "--output", tmp_path / "o")
    refused(cli(*words), "has no fp8 graph of vision: run `taemi-edge calibrate")
    assert list(tmp_path.iterdir()) == []
