"""Faces, only-onnx and llm-text go the way that their READMEs say, and run on the demo clip."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="examples are PyTorch models")
pytest.importorskip("onnx", reason="graphs are checked with onnx")

from taemi_edge.parity.golden import demo_clip
from tests.examples.loading import load_example
from tests.examples.whole_way import WholeWay, predictions


class TestFaces(WholeWay):
    example, streams, patterns = "faces", ("camera",), 2

    @staticmethod
    def write_corpus(folder: Path) -> None:
        assert load_example("faces", "faces_data.py").write_samples([demo_clip()[0]], folder) > 30

    def test_an_expression_is_read_from_the_drawn_faces_of_the_demo(self, built, cli, demo_video):
        lines = predictions(cli("run", built.bundle.folder, demo_video))
        live = [line for line in lines if line["presence"]["camera"] == "live"]
        assert len(live) > 40
        for line in live:
            given = line["expression"]
            assert sum(given["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
            assert given["best"] == max(given["probabilities"], key=given["probabilities"].get)


class TestOnlyOnnx(WholeWay):
    example, declared = "only-onnx", "model.toml"
    streams, patterns, exporter = ("picture", "words"), 4, "onnx"
    int8_pearson = 0.95  # the weights are random, and outputs hardly differ

    @staticmethod
    def write_corpus(folder: Path) -> None:
        load_example("only-onnx", "onnx_data.py").write_table(folder, rows=16)

    def test_topics_are_told_from_pictures_and_words(self, built, cli, demo_video, demo_vtt):
        lines = predictions(cli("run", built.bundle.folder, demo_video, "--transcript", demo_vtt))
        assert {line["presence"]["picture"] for line in lines} == {"live"}
        assert "live" in {line["presence"]["words"] for line in lines}
        for line in lines:
            assert sum(line["topic"]["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
            assert 0 <= line["interest"]["interest"] <= 1

    def test_words_alone_need_no_clip(self, exported, cli, demo_vtt):
        done = cli("run", exported, "--transcript", demo_vtt)
        lines = predictions(done)
        assert {line["presence"]["picture"] for line in lines} == {"missing"}
        assert "live" in {line["presence"]["words"] for line in lines}
        assert f"{demo_vtt}: {len(lines)} predictions" in done.stderr


class TestLlmText(WholeWay):
    example, streams, patterns = "llm-text", ("vision", "audio", "text"), 8
    corpus_fixture = "corpus_folder"

    def test_a_language_model_reads_the_words_of_the_demo(self, built, cli, demo_video, demo_vtt):
        lines = predictions(cli("run", built.bundle.folder, demo_video, "--transcript", demo_vtt))
        heard = [line for line in lines if line["presence"]["text"] == "live"]
        assert len(heard) > 10
        assert all(line["latency_ms"]["text"] is not None for line in heard)
        assert len({tuple(line["intensities"].values()) for line in heard}) > 10
