"""Which parts miss the budget of INT8, and by how much."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


import msgspec

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.records import CalibrationRecord, Closeness
from taemi_edge.calibration.budget import budget_fault, check_budget, describe_misses
from taemi_edge.calibration.recipe import BudgetRecipe
from tests.conftest import FEW_CLIPS


def test_a_budget_that_is_missed_is_exit_1_and_says_by_how_much(cli, tiny_folder, corpus_folder, tmp_path):
    changes = {**FEW_CLIPS, "methods": '["minmax"]', "alphas": "[0.5]", "budget.mean_pearson_drop": "-2"}
    words = [f"--set={key}={value}" for key, value in changes.items()]
    done = cli("calibrate", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "out", *words)
    assert done.returncode == 1, done.stderr  # labels would have to be met by two more than FP32 meets them
    assert "vision in INT8: expected a mean Pearson on labels of at least" in done.stderr
    assert open_bundle(tmp_path / "out").manifest.calibration is not None  # to be looked at; auto refuses its INT8


def record_of(pearson: float | None, score: float | None, fp32: float | None) -> CalibrationRecord:
    """A record of one part in INT8, as far as the budget reads it."""
    closeness = Closeness(pearson=pearson, max_abs=0, p99_abs=0, cosine=1, min_cosine=1, score=score)
    empty: dict[str, object] = {key: {} for key in ("methods", "alphas", "layer_error", "excluded", "islands")}
    return msgspec.convert(
        {
            **dict.fromkeys(("data", "quantiser", "recipe", "recipe_sha256", "ranges_sha256"), ""),
            **empty,
            "synthetic": False,
            "clips": 6,
            "held_out": 3,
            "patterns": [],
            "seconds": 1.0,
            "closeness": {"text": {"int8": msgspec.to_builtins(closeness)}},
            "scores": {"fp32": fp32},
        },
        CalibrationRecord,
    )


@pytest.mark.parametrize(
    ("pearson", "score", "fp32", "misses"),
    [
        (0.996, 0.70, 0.705, []),
        (0.995, None, None, []),
        (0.990, 0.70, 0.705, ["a Pearson with FP32 of at least 0.995, got 0.9900"]),
        (0.996, 0.60, 0.705, ["a mean Pearson on labels of at least 0.695, got 0.600"]),
        (None, None, 0.5, ["0.995, got an undefined one", "0.490, got an undefined one"]),
    ],
    ids=["inside", "no labels", "Pearson", "labels", "undefined"],
)
def test_a_part_misses_the_budget_by_pearson_or_by_labels(pearson, score, fp32, misses):
    record, budget = record_of(pearson, score, fp32), BudgetRecipe()
    check = check_budget(record, "text", budget)
    found = describe_misses(record, budget)
    assert [miss.endswith(end) for miss, end in zip(found, misses, strict=True)] == [True] * len(misses)
    assert (check.keeps_pearson and check.keeps_score) == (not misses)


def test_an_undefined_score_of_a_users_own_metric_is_outside():
    record = msgspec.structs.replace(record_of(0.999, None, -0.5), metric="minus_error")
    assert not check_budget(record, "text", BudgetRecipe()).keeps_score
    assert describe_misses(record, BudgetRecipe())[0].endswith("at least -0.510, got an undefined one")


def test_each_flavour_for_processors_is_held_to_the_budget_by_itself():
    record, budget = record_of(0.996, 0.70, 0.705), BudgetRecipe()
    rough = msgspec.structs.replace(record.closeness["text"]["int8"], pearson=0.99)
    both = msgspec.structs.replace(record, closeness={"text": {**record.closeness["text"], "int8-u8": rough}})
    assert (
        budget_fault(both, "text", budget, "int8") == budget_fault(both, "text", budget, "int8", "int8-dynamic") == ""
    )
    assert budget_fault(both, "text", budget, "int8", "int8-u8").startswith("Pearson 0.9900 with FP32")
    (miss,) = describe_misses(both, budget)
    assert miss == "text in int8-u8: expected a Pearson with FP32 of at least 0.995, got 0.9900"
