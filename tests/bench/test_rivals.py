"""Which rivals a bundle has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from taemi_edge.bench.options import BenchOptions
from taemi_edge.bench.rivals import _checkpoint_of, _rivals, _usual_rivals, graphs_of
from taemi_edge.bundle.folder import Bundle, open_bundle


def test_a_bundle_of_graphs_is_its_own_source(tiny: Bundle):
    assert graphs_of(tiny) == tiny.folder


def test_a_bundle_leads_back_to_its_checkpoint(tiny: Bundle, calibrated_folder: Path):
    exported, _ = _checkpoint_of(tiny, BenchOptions())
    if (Path(open_bundle(calibrated_folder).manifest.provenance.source) / "manifest.json").is_file():
        assert _checkpoint_of(open_bundle(calibrated_folder), BenchOptions())[0] == exported
    assert _checkpoint_of(tiny, BenchOptions(checkpoint="my/checkpoint"))[0] == "my/checkpoint"


def test_rivals_are_asked_for_in_fp32_where_the_bundle_is(tiny: Bundle):
    options = BenchOptions(against=("onnxruntime-cpu", "torch-eager"), threads=3)
    rivals = dict(_rivals(tiny, options, "cpu"))
    assert list(rivals) == ["onnxruntime-cpu fp32", "torch-eager fp32"]
    assert {opening.threads for opening in rivals.values()} == {3}
    assert {opening.device for opening in rivals.values()} == {"cpu"}


@pytest.mark.parametrize(
    ("on_gpu", "expected"),
    [
        (False, ["onnxruntime-cpu", "torch-eager"]),
        (True, ["onnxruntime-cpu", "onnxruntime-cuda", "torch-eager", "torch-compile"]),
    ],
)
def test_usual_rivals_of_another_interpreter(on_gpu: bool, expected: list[str]):
    assert _usual_rivals(BenchOptions(python=sys.executable + "-other"), on_gpu) == expected
