"""`make aarch64` without an emulator: its cases are right where they are computed, and its record is what it says."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the cases are made of onnx, in the extra `export`")

from taemi_edge.runtime.processor import kernels_are_exact
from tests.conftest import ROOT
from tools.aarch64 import guest
from tools.aarch64.__main__ import (
    CONTROL,
    KNOWN,
    ON_ARM,
    PROCESSORS,
    RUNS_ON,
    STEPS,
    WITHOUT_VNNI,
    main,
    too_far,
    unexpected,
)
from tools.aarch64.operators import operator_cases, write_cases
from tools.aarch64.runs import MOST_APART, compared

pytestmark = pytest.mark.once
RECORD = json.loads((ROOT / "benchmarks" / "aarch64.json").read_text())
#: What may differ on this machine.
HERE = ON_ARM if platform.machine() == "aarch64" else "never" if kernels_are_exact() else KNOWN[WITHOUT_VNNI]


def test_integer_operators_give_what_numpy_gives(tmp_path: Path):
    write_cases(tmp_path)
    outcomes = {file.stem: guest.outcome(file) for file in tmp_path.glob("*.npz")}
    assert len(outcomes) == len(list(operator_cases())) > 90
    assert not {case: found for case, found in outcomes.items() if found != "exact" and not re.search(HERE, case)}


def test_a_wrong_sum_and_an_operator_without_a_kernel_are_told(tmp_path: Path):
    import numpy as np

    write_cases(tmp_path)
    with np.load(tmp_path / f"{CONTROL}.npz") as case:
        content = dict(case)
    np.savez(tmp_path / "wrong.npz", **{**content, "expected": content["expected"] + 3})
    assert guest.outcome(tmp_path / "wrong.npz") == "off by 3"
    graph = content["graph"].tobytes().replace(b"MatMulInteger", b"MatMulUnknown")
    np.savez(tmp_path / "unknown.npz", **{**content, "graph": np.frombuffer(graph, np.uint8)})
    assert guest.outcome(tmp_path / "unknown.npz").startswith("cannot run: ")
    assert unexpected({CONTROL: {RUNS_ON: "off by 3", WITHOUT_VNNI: "off by 9"}}) == [
        f"{CONTROL} on {RUNS_ON}: off by 3"
    ]


def test_the_record_says_that_it_is_emulated_and_that_all_agreed():
    assert RECORD["emulated"] is True
    assert "say nothing" in RECORD["what"]
    operators = RECORD["operators"]
    assert operators["problems"] == unexpected(operators["table"]) == []
    assert all({*PROCESSORS, WITHOUT_VNNI} == set(row) for row in operators["table"].values())
    assert operators["table"].keys() == {case.name for case in operator_cases()}, "run make aarch64"
    assert operators["table"][CONTROL][WITHOUT_VNNI] != "exact"
    assert not [step for step in STEPS if step in RECORD and not RECORD[step]["emulated"]]
    assert too_far(RECORD["int8"]["parts"]) == RECORD["int8"]["problems"] == []
    for step in {"tiny", "mobile"} & RECORD.keys():
        assert RECORD[step]["problems"] == []
        assert all(stage["ok"] for stage in RECORD[step]["parity"].values())
        assert RECORD[step]["run"]["largest_difference"] <= MOST_APART


def test_int8_that_a_processor_computes_otherwise_is_told():
    close, far = {"pearson": 0.9991}, {"pearson": 0.93}
    told = {"max": {"audio.int8-dynamic": far, "audio.int8-u8": close}, RUNS_ON: {"audio.int8-u8": far}}
    assert too_far(told) == [f"audio.int8-u8 on {RUNS_ON}: Pearson 0.93"]
    assert too_far({RUNS_ON: {"text.int8-u8": {"pearson": float("nan")}}})


def test_runs_that_differ_are_told():
    line = {"intensities": {"joy": 0.5}, "presence": {"audio": "live"}}
    assert compared([line], [line]) == {"predictions": 1, "largest_difference": 0.0, "limit": MOST_APART}
    assert compared([line], [line | {"intensities": {"joy": 0.6}}])["problem"] == "outputs differ by 0.1"
    assert compared([line], [])["problem"] == "1 predictions there, 0 here"
    assert "live" in compared([line], [line | {"presence": {"audio": "missing"}}])["problem"]


def test_a_machine_without_debian_is_refused(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--work", str(tmp_path / "work"), "--output", str(tmp_path / "record.json")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("aarch64: expected ")
    assert message.count("\n") == 1
    assert not (tmp_path / "record.json").exists()
