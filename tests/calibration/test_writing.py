"""Every part is written in the flavours of its recipe; what is quantised is an option."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.folder import Bundle, open_bundle, replaceable_files
from taemi_edge.calibration.calibrate import calibrate_bundle
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.taemi.names import PARTS
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.calibration.recipes import few


def test_the_bundle_holds_every_part_in_the_flavours_of_its_recipe(calibrated: Bundle):
    manifest = calibrated.manifest
    assert {entry.name for entry in calibrated.folder.iterdir()} <= replaceable_files(calibrated.folder)
    for part in PARTS:
        assert (
            set(manifest.graphs[part])
            == set(few().flavours)
            == {"fp32", "fp16", "int8", "int8-u8", "int8-dynamic", "int8-fp16"}
        )
        assert manifest.parts[part].precision == "int8"
        assert Graph.load(calibrated.part_file(part)).is_quantised
        fp32 = calibrated.folder / manifest.graphs[part]["fp32"]
        assert not Graph.load(fp32).is_quantised
    assert manifest.tolerances == manifest.tolerances_by["int8"]


@pytest.mark.parametrize(
    "option",
    [
        "layer_norm",
        pytest.param("attention_matmuls", marks=pytest.mark.nightly),
        pytest.param("softmax", marks=pytest.mark.nightly),
    ],
)
def test_what_stays_in_higher_precision_is_an_option(option, tiny_folder, corpus_folder, tmp_path):
    recipe = few(**{option: "true", "methods": '["minmax"]', "budget.pearson": "0.5"})
    made = calibrate_bundle(tiny_folder, open_corpus(corpus_folder), recipe, tmp_path / "out", workers=1).bundle
    graph, exact = Graph.load(made.part_file("text")), Graph.load(tiny_folder / "text.onnx")
    from_int8 = {node.output[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    wanted = {"attention_matmuls": "MatMul", "softmax": "Softmax", "layer_norm": "LayerNormalization"}[option]
    nodes = exact.attention_matmuls() if wanted == "MatMul" else [n for n in exact.nodes if n.op_type == wanted]
    names = {node.name for node in nodes}
    assert names
    assert all(node.input[0] in from_int8 for node in graph.nodes if node.name in names)


def test_a_calibrated_bundle_keeps_softmax_layer_norm_and_attention_out_of_int8(calibrated_folder):
    bundle = open_bundle(calibrated_folder)
    for part in PARTS:
        graph = Graph.load(bundle.part_file(part))
        from_int8 = {node.output[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
        readers = Counter(node.op_type for node in graph.nodes if from_int8 & set(node.input))
        assert set(readers) <= {"MatMul", "Gemm", "Conv"}, part
        exact = Graph.load(bundle.folder / bundle.manifest.graphs[part]["fp32"])
        names = {node.name for node in exact.attention_matmuls()}
        assert not any(from_int8 & set(node.input) for node in graph.nodes if node.name in names)
