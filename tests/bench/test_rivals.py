"""Which rivals a bundle has."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from taemi_edge.bench import rivals
from taemi_edge.bench.contender import Contender
from taemi_edge.bench.options import BenchOptions
from taemi_edge.bench.report import OURS
from taemi_edge.bench.rivals import _checkpoint_of, _rivals, _usual_rivals, graphs_of
from taemi_edge.bench.worker import Opening
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.errors import UsageError


def test_a_bundle_of_graphs_is_its_own_source(tiny: Bundle):
    assert graphs_of(tiny) == tiny.folder


def test_a_bundle_leads_back_to_its_checkpoint(tiny: Bundle, calibrated_folder: Path):
    exported, _ = _checkpoint_of(tiny, BenchOptions())
    if (Path(open_bundle(calibrated_folder).manifest.provenance.source) / "manifest.json").is_file():
        assert _checkpoint_of(open_bundle(calibrated_folder), BenchOptions())[0] == exported
    assert _checkpoint_of(tiny, BenchOptions(checkpoint="my/checkpoint"))[0] == "my/checkpoint"


def test_rivals_are_asked_for_in_fp32_where_the_bundle_is(tiny: Bundle):
    options = BenchOptions(against=("onnxruntime-cpu", "torch-eager"), threads=3)
    found = dict(_rivals(tiny, options, "cpu"))
    assert list(found) == ["onnxruntime-cpu fp32", "torch-eager fp32"]
    assert {opening.threads for opening in found.values()} == {3}
    assert {opening.device for opening in found.values()} == {"cpu"}


def test_openvino_is_timed_in_what_it_takes_and_in_fp32(tiny: Bundle, calibrated_folder: Path):
    options = BenchOptions(against=("openvino", "openvino-int8"))
    precisions = {name: opening.precision for name, opening in _rivals(tiny, options, "cpu", "feeds")}
    assert precisions == {"openvino fp32": "fp32", "openvino default": "default", "openvino nncf": "nncf"}
    of_calibrated = dict(_rivals(open_bundle(calibrated_folder), options, "cpu", "feeds"))
    assert list(of_calibrated) == ["openvino fp32", "openvino default", "openvino int8", "openvino nncf"]
    assert of_calibrated["openvino nncf"].calibration == "feeds"


def test_a_library_that_is_missing_is_named_once(tiny: Bundle, tmp_path: Path, monkeypatch):
    def refuse(name: str, opening: Opening, python: str, log: Path) -> Contender:
        if opening.contender == "openvino":
            raise UsageError("openvino is not installed")
        return Contender(name, opening, python, log)

    monkeypatch.setattr(rivals, "Contender", refuse)
    with ExitStack() as stack:
        opened, not_run = rivals.open_contenders(stack, tiny, BenchOptions(against=("openvino",)), tmp_path)
    assert list(opened) == [OURS]
    assert not_run == {"openvino fp32": "openvino is not installed"}


@pytest.mark.parametrize(
    ("on_gpu", "expected"),
    [
        (False, ["onnxruntime-cpu", "torch-eager"]),
        (True, ["onnxruntime-cpu", "onnxruntime-cuda", "torch-eager", "torch-compile"]),
    ],
)
def test_usual_rivals_of_another_interpreter(on_gpu: bool, expected: list[str]):
    assert _usual_rivals(BenchOptions(python=sys.executable + "-other"), on_gpu) == expected
