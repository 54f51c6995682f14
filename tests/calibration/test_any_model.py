"""A model that shares nothing with TAEMI is calibrated on samples, and its own metric is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the model is written in PyTorch")
pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.calibration.calibrate import CalibrationOptions, CalibrationResult, calibrate_bundle
from taemi_edge.calibration.clip_inputs import samples_corpus
from taemi_edge.calibration.clip_selection import read_clips
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.errors import CalibrationError, UsageError
from taemi_edge.parity.comparison import check_parity
from taemi_edge.progress import SILENT
from tests.calibration import mixed_model
from tests.cli.checks import refused

PARTS = (*mixed_model.STREAMS, "fusion")


def few(**changes: str) -> CalibrationRecipe:
    given = {"clips": "12", "min_clips": "4", "held_out": "9", "trial_clips": "6", "methods": '["minmax"]', **changes}
    return load_recipe("calibration", "default", CalibrationRecipe, given)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return mixed_model.export(tmp_path_factory.mktemp("export") / "mixed")


@pytest.fixture(scope="module")
def result(mixed: Bundle, tmp_path_factory: pytest.TempPathFactory) -> CalibrationResult:
    folder = tmp_path_factory.mktemp("calibration") / "mixed"
    corpus = samples_corpus(mixed_model.samples(12), "bench", held_out=mixed_model.samples(9, 500))
    return calibrate_bundle(mixed.folder, corpus, few(), folder, workers=1)


@pytest.mark.parametrize(("least_rows", "clips"), [("0", 4), ("20", 4), ("40", 8), ("1000", 12)])
def test_short_clips_give_ranges_together_with_more(mixed: Bundle, tmp_path: Path, least_rows: str, clips: int):
    # each sample has five rows of `pulse`, fewer than of any other stream
    complete = [mixed_model.sample(number) for number in range(12)]
    corpus = samples_corpus(complete, "bench", held_out=mixed_model.samples(4, 500))
    recipe = few(clips="4", held_out="4", least_rows=least_rows)
    found = read_clips(corpus, recipe, mixed, tmp_path, 1, SILENT)
    assert (len(found.calibrating), len(found.judging)) == (clips, 4)
    assert len(set(found.calibrating.files)) == clips


def test_every_part_is_near_to_fp32(result: CalibrationResult):
    record = result.record
    assert (record.data, record.clips, record.held_out) == ("bench", 12, 9)
    assert tuple(record.closeness) == PARTS
    for part in PARTS:
        assert record.closeness[part]["fp16"].pearson > 0.9999
        assert record.closeness[part]["int8"].pearson > 0.99


def test_the_metric_is_the_models_own_and_labels_that_flip_are_counted(result: CalibrationResult):
    record = result.record
    assert (record.metric, record.mean_pearson) == ("accuracy", {})
    assert 0 < record.scores["fp32"] < 1
    assert record.closeness["camera"]["fp16"].flips == 0
    assert record.pattern_scores["fp32"].flips == 0
    assert record.pattern_scores["int8"].flips < 0.2
    assert "none" not in (record.pattern_scores["int8"].worst_pattern, record.pattern_scores["fp16"].worst_pattern)


def test_the_head_is_fed_what_stands_for_missing_streams(result: CalibrationResult):
    assert "camera+microphone+motion+pulse" in result.record.patterns
    assert len(result.record.patterns) > 4
    assert all("pulse" in pattern for pattern in result.record.patterns)  # it is required


def test_recurrences_stay_in_fp32_and_the_layers_around_them_become_int8(result: CalibrationResult):
    graph = Graph.load(result.bundle.part_file("motion"))
    quantised = {node.output[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    by_kind = {
        node.op_type: bool(quantised & set(node.input)) for node in graph.nodes if node.op_type in ("GRU", "MatMul")
    }
    assert by_kind == {"GRU": False, "MatMul": True}


def test_the_calibrated_bundle_keeps_tolerances_that_no_one_wrote_down(result: CalibrationResult):
    report, _ = check_parity(str(result.bundle.folder))
    assert report.ok
    tolerances = result.bundle.manifest.tolerances_by
    assert set(tolerances["fp16"]) == {*PARTS, "end_to_end"}
    assert (
        tolerances["fp32"]["camera"].max_abs
        < tolerances["fp16"]["camera"].max_abs
        < tolerances["int8"]["camera"].max_abs
    )


def test_a_metric_of_the_users_is_counted_and_its_budget_held(mixed: Bundle, tmp_path: Path):
    def miles_off(predicted: dict, true: dict) -> float:
        return float(np.abs(predicted["load"] - true["load"]).mean())

    miles_off.higher_is_better = False
    options = CalibrationOptions(metric=miles_off)
    recipe = few(clips="4", held_out="4", **{"budget.metric_loss": "0", "budget.pearson": "0.5"})
    done = calibrate_bundle(mixed.folder, mixed_model.samples(9), recipe, tmp_path / "out", options=options, workers=1)
    assert (done.record.metric, done.record.higher_is_better) == ("miles_off", False)
    assert done.record.scores["fp32"] > 0
    assert all("expected a miles_off on labels of at most" in miss for miss in done.misses)
    excluded = [block for found in done.sensitivities["int8"].values() for block in found.blocks if block.excluded]
    assert excluded
    assert all(block.loss > 0 and block.excluded.endswith("of the metric on labels") for block in excluded)


def test_samples_that_do_not_fit_are_left_out_with_the_reason(mixed: Bundle, tmp_path: Path):
    wide = {**mixed_model.sample(7), "pulse/values": np.zeros(3, np.float32)}
    corpus = samples_corpus(
        [*mixed_model.samples(6), wide, mixed_model.sample(8, "pulse")], held_out=mixed_model.samples(4)
    )
    done = calibrate_bundle(mixed.folder, corpus, few(), tmp_path / "out", workers=1)
    assert "pulse/values" in done.problems["train-6"]
    assert "required" in done.problems["train-7"]
    assert done.record.clips == 6


def test_samples_that_lack_a_stream_altogether(mixed: Bundle, tmp_path: Path):
    deaf = [mixed_model.sample(number, "microphone") for number in range(12)]
    with pytest.raises(CalibrationError, match="nothing shows the range of microphone; add clips that have it"):
        calibrate_bundle(mixed.folder, deaf, few(), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_no_samples_at_all(mixed: Bundle, tmp_path: Path):
    with pytest.raises(CalibrationError, match="golden feeds are too few to find ranges on"):
        calibrate_bundle(mixed.folder, [], few(), tmp_path / "out", workers=1)


def test_a_metric_that_raises(mixed: Bundle, tmp_path: Path):
    options = CalibrationOptions(metric=lambda predicted, true: predicted["nothing"])
    with pytest.raises(UsageError, match="it raised KeyError: 'nothing'"):
        calibrate_bundle(
            mixed.folder, mixed_model.samples(9), few(clips="4"), tmp_path / "out", options=options, workers=1
        )
    assert not (tmp_path / "out").exists()


def test_the_command_takes_files_of_samples_and_a_function(cli, mixed: Bundle, tmp_path: Path):
    for number, sample in enumerate(mixed_model.samples(9)):
        np.savez(tmp_path / f"{number}.npz", **sample)
    (tmp_path / "mine.py").write_text(
        "def share(predicted, true):\n    return (predicted['state'].argmax(1) == true['state']).mean()\n"
    )
    words = [
        f"--set={key}={value}"
        for key, value in {"min_clips": 2, "held_out": 4, "trial_clips": 2, "methods": "['minmax']"}.items()
    ]
    command = ("calibrate", mixed.folder, "--data", tmp_path, "--output", tmp_path / "out", "--workers", 1, *words)
    done = cli(
        *command, "--set=budget.metric_loss=1", "--set=budget.pearson=0.5", "--metric", f"{tmp_path}/mine.py:share"
    )
    assert done.returncode == 0, done.stderr
    assert "share on labels, all parts: fp32" in done.stdout
    assert "flips" in done.stdout
    refused(cli(*command, "--metric", f"{tmp_path}/mine.py:nothing"), "expected a function 'nothing' in")
    refused(cli(*command, "--metric", "truth"), "expected the metric pearson, ccc, mae")
