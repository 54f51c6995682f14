"""The way that every example goes: exported, held to PyTorch, calibrated, built for two targets, and run.

A class for each example says what is particular about it. TAEMI itself goes the same way in the rest of the suite
(`tests/cli`, `tests/calibration`, `tests/engines`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from taemi_edge.bundle.folder import open_bundle, read_manifest
from taemi_edge.bundle.values import HEAD
from tests.engines.targets import target


class WholeWay:
    """What holds for all examples."""

    #: The folder in `examples/`, and what in it is exported.
    example: ClassVar[str]
    declared: ClassVar[str] = "model.py:build"
    #: The model's streams, and how many presence patterns they have.
    streams: ClassVar[tuple[str, ...]]
    patterns: ClassVar[int]
    exporter: ClassVar[str] = "torchscript"
    #: The fixture that makes its labelled clips, where it has no script of its own.
    corpus_fixture: ClassVar[str] = ""
    #: The least value of the model's own metric on the example's labels, in FP32; None where nobody knows labels.
    at_least: ClassVar[float | None] = None

    #: The least Pearson correlation of a part in INT8 with FP32, with ranges from few samples.
    int8_pearson: ClassVar[float] = 0.98

    @staticmethod
    def write_corpus(folder: Path) -> None:
        """Write samples to calibrate on."""
        raise NotImplementedError

    def test_the_bundle_has_the_streams_and_patterns_of_the_declaration(self, exported):
        manifest = open_bundle(exported).manifest
        assert tuple(manifest.streams) == self.streams
        assert len(manifest.patterns) == self.patterns
        assert {part.exporter for part in manifest.parts.values()} == {self.exporter}

    def test_parity_holds_without_pytorch(self, exported, cli, tmp_path):
        done = cli("parity", exported, "--json", tmp_path / "parity.json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads((tmp_path / "parity.json").read_text())["ok"] is True

    def test_int8_follows_fp32_on_samples_of_its_own(self, calibrated):
        record = calibrated.record
        assert tuple(record.closeness) == (*self.streams, HEAD)
        for part, found in record.closeness.items():
            assert found["fp16"].pearson > 0.9999, part
            assert found["int8"].pearson > self.int8_pearson, part
        if self.at_least is not None:
            assert record.scores["fp32"] >= self.at_least

    def test_engines_for_this_processor_are_verified(self, built):
        assert built.bundle.manifest.verified, built.record.failure
        candidates = {(c.part, c.precision) for c in built.record.candidates}
        assert {(part, "int8") for part in (*self.streams, HEAD)} <= candidates

    def test_every_part_compiles_for_ampere(self, calibrated, tmp_path):
        pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for x86-64 (extra `rtx`)")
        from taemi_edge.engines.build import build_engine

        build_engine(calibrated.bundle.folder, target("rtx"), "fp16", tmp_path / "rtx", cache=None)
        parts = read_manifest(tmp_path / "rtx").parts
        assert {part.file for part in parts.values()} == {f"{part}.engine" for part in (*self.streams, HEAD)}


def predictions(done: Any) -> list[dict[str, Any]]:
    """What a run has printed, one prediction a line; the run must have succeeded."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
