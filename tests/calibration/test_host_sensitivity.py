"""Which blocks stay in FP32 in the graphs for processors: none where a part keeps its budget whole."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.records import Closeness
from taemi_edge.calibration import host_sensitivity
from taemi_edge.calibration.graphs.qdq import PartPlan
from taemi_edge.calibration.graphs.unsigned_plan import UnsignedPlan
from taemi_edge.calibration.host_sensitivity import settle_for_hosts
from taemi_edge.calibration.part_plan import BlockSize, PartPlanDraft
from taemi_edge.calibration.sensitivity import ComparisonResult, ComparisonSetup, ComparisonTask
from taemi_edge.parity.judge import Judge
from taemi_edge.progress import SILENT
from tests.calibration.recipes import few

#: What each block costs of the text encoder's Pearson with FP32; the symmetric graph leaves "cheap" out.
COSTS = {"dear": 0.02, "cheap": 0.0001}


def settle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, costs: dict[str, float]) -> tuple[PartPlan, list[str]]:
    """Settle the text encoder of a bundle where every comparison costs the sum of its blocks."""
    asked: list[str] = []

    def compare(task: ComparisonTask) -> ComparisonResult:
        asked.append(f"{task.flavour} {task.name}")
        lost = 0.0 if task.flavour == "fp32" else sum(c for block, c in costs.items() if block not in task.excluded)
        found = Closeness(pearson=1 - lost, max_abs=0, p99_abs=0, cosine=1, min_cosine=1)
        return ComparisonResult(task.part, task.name, found, [], {})

    monkeypatch.setattr(ComparisonSetup, "scored", lambda self, result: result.closeness)
    monkeypatch.setattr(ComparisonSetup, "fp32_score", None)
    monkeypatch.setattr("taemi_edge.calibration.sensitivity.compare_graph", compare)
    monkeypatch.setattr(
        "taemi_edge.calibration.sensitivity.run_parallel", lambda function, tasks, workers: map(compare, tasks)
    )
    plan = PartPlan(
        weights_sha256="", tensors=(), excluded={"cheap": "symmetric"}, islands={}, host=UnsignedPlan(tensors=())
    )
    sizes = {block: BlockSize(weights=1, macs=1.0) for block in costs}
    setup = ComparisonSetup(bundle, [], few(), Judge(bundle.manifest.outputs, "pearson"), 1)  # type: ignore[arg-type]
    settled, _ = settle_for_hosts({"text": plan}, {"text": PartPlanDraft("text", {}, sizes)}, setup, SILENT)
    return settled["text"], asked


def test_a_part_that_keeps_its_budget_is_compared_once_a_flavour(tiny, monkeypatch):
    plan, asked = settle(tiny, monkeypatch, {"dear": 0.001, "cheap": 0.0001})
    assert asked == ["int8-u8 whole", "int8-dynamic whole"]
    assert plan.host.excluded == {"int8-u8": {}, "int8-dynamic": {}}
    assert plan.excluded == {"cheap": "symmetric"}


def test_the_dearest_block_leaves_whatever_the_symmetric_graph_leaves_out(tiny, monkeypatch):
    plan, asked = settle(tiny, monkeypatch, COSTS)
    assert {flavour: set(blocks) for flavour, blocks in plan.host.excluded.items()} == {
        "int8-u8": {"dear"},
        "int8-dynamic": {"dear"},
    }
    assert plan.host.excluded["int8-u8"]["dear"].startswith("alone it takes 0.02 off")
    assert [task for task in asked if task.startswith("int8-dynamic")] == ["int8-dynamic whole", "int8-dynamic settled"]


def test_a_plan_without_ranges_for_processors_stays(tiny, monkeypatch):
    plan, _ = settle(tiny, monkeypatch, COSTS)
    without = msgspec.structs.replace(plan, host=None)
    setup = ComparisonSetup(tiny, [], few(), Judge(tiny.manifest.outputs, "pearson"), 1)  # type: ignore[arg-type]
    assert settle_for_hosts({"text": without}, {}, setup, SILENT) == ({"text": without}, {})
    assert host_sensitivity.HOST_FLAVOURS == ("int8-u8", "int8-dynamic")
