"""What `doctor` prints for people."""

from __future__ import annotations

from taemi_edge.cli.doctor import Finding, Report
from taemi_edge.cli.machine import _print_doctor


def test_every_finding_is_a_row_with_its_advice(capsys):
    findings = (
        Finding(name="Python", status="ok", found="3.11"),
        Finding(name="TensorRT", status="problem", found="not installed", advice="apt-get install [it]"),
    )
    _print_doctor(Report(findings=findings, runs_on={"cpu": True, "tensorrt": False}))
    shown = capsys.readouterr().out
    for words in ("Python", "3.11", "problem", "apt-get install [it]", "runs on: cpu yes, tensorrt no"):
        assert words in shown
