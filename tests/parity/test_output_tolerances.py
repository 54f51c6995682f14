"""Each output is held against its own range: a share in [0, 1] beside a speed in rpm is checked as well as alone."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.values import Tolerance
from taemi_edge.parity import comparison
from taemi_edge.parity.comparison import StageResult, check_parity, check_part
from taemi_edge.parity.golden import Case, load_cases, save_cases
from tests.parity.toy_model import toy_artefact

LIMIT = Tolerance(max_abs=0.2, cosine=-1, outputs={"door": 1e-4})


def compared(monkeypatch: pytest.MonkeyPatch, limit: Tolerance, door_error: float) -> StageResult:
    """The head of a model whose mood reaches 2,000, against one whose other output is off."""
    honest = toy_artefact("toy")

    def run(part, feeds, error=0.0):
        outputs = honest.run(part, feeds)
        return outputs if part != "fusion" else {"mood": 2000 * outputs["mood"], "door": outputs["door"] + error}

    tolerances = honest.tolerances | {"fusion": limit}
    sides = {
        "mine": replace(honest, name="mine", run=run, tolerances=tolerances),
        "other": replace(honest, name="other", tolerances=tolerances, run=lambda *given: run(*given, door_error)),
    }
    monkeypatch.setattr(comparison, "open_artefact", lambda source, *_: contextlib.nullcontext(sides[source]))
    stages = check_parity("mine", "other")[0].stages
    assert stages[-1].ok == stages[-2].ok  # the whole way has the head's limits
    return stages[-2]


def test_an_error_in_a_small_output_is_found_beside_a_large_one(monkeypatch: pytest.MonkeyPatch):
    shared = compared(monkeypatch, Tolerance(max_abs=0.2, cosine=-1), 0.003)
    assert shared.ok  # what one limit for both lets through
    found = compared(monkeypatch, LIMIT, 0.003)
    failed = [case for case in found.cases if not case.ok]
    assert {case.case.rpartition(": ")[2] for case in failed} == {"door"}
    assert {found.limit_of(case) for case in failed} == {1e-4}
    assert {found.limit_of(case) for case in found.cases if case.ok} == {0.2}
    assert compared(monkeypatch, LIMIT, 5e-5).ok


def test_the_message_names_the_output_and_its_own_limit(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnx", reason="exported graphs are checked with onnx")
    from taemi_edge.export.checks import _failure

    stage = compared(monkeypatch, LIMIT, 0.003)
    said = _failure(comparison.ParityReport(a="mine", b="other", ok=False, first_failure="fusion", stages=(stage,)))
    assert ": door: expected at most 0.0001 from PyTorch" in said
    assert "got 0.003 and" in said


def test_a_number_that_may_as_well_be_zero_has_no_direction():
    def judged(got: float, want: float) -> bool:
        case = Case("imu", "one row", {}, {"features": np.array([[want]])}, None)
        manifest = msgspec.defstruct("Manifest", [("streams", dict), ("outputs", dict)])({}, {})
        limit = Tolerance(max_abs=0.01, cosine=0.9)
        return check_part(lambda feeds: {"features": np.array([[got]])}, "imu", [case], {}, limit, manifest).ok

    assert judged(-0.001, 0.001)
    assert not judged(-0.02, 0.001)
    assert not judged(float("nan"), 0.001)


def test_limits_are_chosen_from_each_outputs_own_peak():
    pytest.importorskip("torch", reason="models are exported with PyTorch")
    from types import SimpleNamespace

    from taemi_edge.export.export_model import model_tolerances

    model = SimpleNamespace(given_tolerances=dict)
    found = SimpleNamespace(streams={"imu": None})
    cases = [
        Case("imu", "a", {}, {"features": np.full((1, 4), 30.0)}, None),
        Case("fusion", "a", {}, {"speed": np.array([[-2000.0]]), "share": np.array([[0.5]])}, frozenset({"imu"})),
    ]
    chosen = model_tolerances(model, found, cases)
    assert chosen["fusion"].max_abs == pytest.approx(0.2)
    assert chosen["fusion"].outputs == {"share": pytest.approx(1e-4)}
    assert chosen["imu"] == Tolerance(max_abs=pytest.approx(0.03), cosine=0.9999)
    assert b"outputs" not in msgspec.json.encode(chosen["imu"])  # manifests of one output stay as they were
    again = msgspec.json.decode(msgspec.json.encode(chosen["fusion"]), type=Tolerance)
    assert again == chosen["fusion"]


def test_calibration_takes_each_outputs_own_magnitude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from types import SimpleNamespace

    from taemi_edge.calibration import tolerances

    feeds, imu = {"imu": np.ones((1, 2, 4)), "imu_mask": np.ones((1, 2))}, frozenset({"imu"})
    cases = [
        Case("fusion", "a", feeds, {"speed": np.array([[-2000.0]]), "share": np.array([[0.5]])}, imu),
        Case("fusion", "b", feeds, {"speed": np.array([[30.0]]), "share": np.array([[0.75]])}, imu),
    ]
    save_cases(cases, tmp_path / "golden.npz")
    monkeypatch.setattr(tolerances, "golden_cases", lambda bundle: load_cases(bundle.golden_file))
    found = tolerances.golden_magnitudes(SimpleNamespace(golden_file=tmp_path / "golden.npz"))
    assert found == {"fusion": {"speed": 2000.0, "share": 0.75}}
