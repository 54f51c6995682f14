"""A graph that others exported gets a bundle's inputs and outputs, and computes what it computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are adapted where bundles are made")
pytest.importorskip("torch", reason="example feeds are PyTorch tensors")

from onnx import TensorProto, helper, numpy_helper

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import ContractError, ExportError
from taemi_edge.export.checks import require_one_file
from taemi_edge.export.contract import OnnxFile
from taemi_edge.export.onnx_graphs import adapt_graph, onnx_reference
from taemi_edge.export.parts import OnnxPart

IDS, MASK = (TensorSpec(name=name, dtype="int32", shape=("batch", "tokens")) for name in ("ids", "mask"))
FEATURES = TensorSpec(name="features", dtype="float32", shape=("batch", "tokens", 4))
RENAMES = {"input_ids": "ids", "attention_mask": "mask", "last_hidden_state": "features"}
LENGTHS = {"batch": 2, "tokens": 6}
TABLE = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float16)


def text_graph(
    *, opset: int = 17, tokens: str | int = "seq", reads_mask: bool = True, frozen: int = 0
) -> onnx.ModelProto:
    """Embeddings times the mask, in float16 with int64 inputs, as exporters of language models write them.

    A value in it has the name `ids` already.
    """
    inputs = ("input_ids", "attention_mask")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["ids"])]
    nodes += [helper.make_node("Cast", [inputs[reads_mask]], ["m"], to=TensorProto.FLOAT16)]
    nodes += [helper.make_node("Unsqueeze", ["m", "axis"], ["live"]), helper.make_node("Mul", ["ids", "live"], ["out"])]
    nodes += [helper.make_node("Reshape", ["out", "shape"], ["last_hidden_state"])]
    values = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", tokens]) for name in inputs]
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT16, ["b", tokens, 4])
    weights = [
        numpy_helper.from_array(TABLE, "table"),
        numpy_helper.from_array(np.array([2]), "axis"),
        numpy_helper.from_array(np.array([0, frozen, 4]), "shape"),
    ]
    graph = helper.make_graph(nodes, "text", values, [out], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_names_dtypes_and_dimensions_become_those_of_the_description(tmp_path: Path):
    source, file = tmp_path / "given.onnx", tmp_path / "text.onnx"
    onnx.save(text_graph(), source, save_as_external_data=True, location="given.data", size_threshold=70)
    part = adapt_graph(source, file, (IDS, MASK), (FEATURES,), lengths=LENGTHS, renames=RENAMES)
    assert (part.exporter, part.opset, part.file) == ("onnx", 17, "text.onnx")
    (tmp_path / "given.data").unlink()
    session = onnx_reference(file)
    assert [(v.name, v.type, v.shape) for v in (*session.get_inputs(), *session.get_outputs())] == [
        ("ids", "tensor(int32)", ["batch", "tokens"]),
        ("mask", "tensor(int32)", ["batch", "tokens"]),
        ("features", "tensor(float)", ["batch", "tokens", 4]),
    ]
    ids, mask = np.array([[3, 1, 4]], np.int32), np.array([[1, 1, 0]], np.int32)
    (features,) = session.run(None, {"ids": ids, "mask": mask})
    np.testing.assert_array_equal(features, (TABLE[ids] * mask[..., None]).astype(np.float32))


def test_an_older_opset_is_converted(tmp_path: Path):
    source = tmp_path / "given.onnx"
    onnx.save(text_graph(opset=14), source)
    part = adapt_graph(source, tmp_path / "text.onnx", (IDS, MASK), (FEATURES,), lengths=LENGTHS, renames=RENAMES)
    assert part.opset == 17
    assert onnx.load(tmp_path / "text.onnx").opset_import[0].version == 17


def unsorted_graph() -> onnx.ModelProto:
    """A graph as converters to float16 leave it: the first node stands last."""
    model = text_graph()
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[1:], nodes[0]])
    return model


def graph_of_old_times() -> onnx.ModelProto:
    model = text_graph()
    model.ir_version = 3
    return model


def graph_with_another_output() -> onnx.ModelProto:
    """It has an output `features` already, which is not the one that is asked for."""
    model = text_graph()
    model.graph.node.append(helper.make_node("Neg", ["last_hidden_state"], ["features"]))
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT16, ["b", "seq", 4]))
    return model


@pytest.mark.parametrize("make", [unsorted_graph, graph_of_old_times, graph_with_another_output])
def test_graphs_of_other_converters_are_brought_into_order(tmp_path: Path, make):
    onnx.save(make(), tmp_path / "given.onnx")
    file = tmp_path / "text.onnx"
    adapt_graph(tmp_path / "given.onnx", file, (IDS, MASK), (FEATURES,), lengths=LENGTHS, renames=RENAMES)
    ids, mask = np.array([[3, 1, 4]], np.int32), np.array([[1, 1, 0]], np.int32)
    (features,) = onnx_reference(file).run(None, {"ids": ids, "mask": mask})
    np.testing.assert_array_equal(features, (TABLE[ids] * mask[..., None]).astype(np.float32))


@pytest.mark.parametrize(
    ("field", "words"),
    [("ir_version", "IR version 1 to .*, got 99: export it again at opset 17"), ("opset", "opset 1 to .*, got 99")],
)
def test_a_graph_newer_than_the_installation_is_refused_by_its_version(tmp_path: Path, field: str, words: str):
    model = text_graph(opset=99 if field == "opset" else 17)
    model.ir_version = 99 if field == "ir_version" else 8
    onnx.save(model, tmp_path / "given.onnx")
    with pytest.raises(ExportError, match=words):
        onnx_reference(tmp_path / "given.onnx")


def part(tmp_path: Path, model: onnx.ModelProto, **names: str) -> OnnxPart:
    onnx.save(model, tmp_path / "given.onnx")
    return OnnxPart(OnnxFile(tmp_path / "given.onnx", inputs=names))


def test_a_part_refuses_what_the_runtime_does_not_feed_by_name_and_size(tmp_path: Path):
    feeds = {name: np.ones((2, 3), np.int32) for name in ("ids", "mask")}
    names = {"input_ids": "ids", "attention_mask": "mask"}
    with pytest.raises(ContractError, match="expected the inputs ids, mask, the graph has input_ids, attention_mask"):
        part(tmp_path, text_graph()).run(feeds, (FEATURES,))
    with pytest.raises(ContractError, match=r"ids \(2, 3\), the graph has \(b, 6\): export it again with axis 1"):
        part(tmp_path, text_graph(tokens=6), **names).run(feeds, (FEATURES,))
    with pytest.raises(ContractError, match=r"runs on ids \(2, 3\), mask \(2, 3\), .*without sizes that were traced"):
        part(tmp_path, text_graph(frozen=6), **names).run(feeds, (FEATURES,))
    assert part(tmp_path, text_graph(), **names).run(feeds, (FEATURES,))["features"].shape == (2, 3, 4)


def head_graph() -> onnx.ModelProto:
    """A head with two outputs: its input, and twice its input."""
    nodes = [helper.make_node("Identity", ["imu"], ["logits"]), helper.make_node("Add", ["imu", "imu"], ["mood"])]
    [imu, *gives] = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 2]) for n in ("imu", "logits", "mood")]
    graph = helper.make_graph(nodes, "head", [imu], gives)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


STATE, MOOD = (TensorSpec(name=name, dtype="float32", shape=("batch", 2)) for name in ("state", "mood"))


def test_outputs_whose_names_agree_need_not_be_named(tmp_path: Path):
    onnx.save(head_graph(), tmp_path / "given.onnx")
    head = OnnxPart(OnnxFile(tmp_path / "given.onnx", outputs={"logits": "state"}))
    given = head.run({"imu": np.ones((1, 2), np.float32)}, (STATE, MOOD))
    assert {name: value.tolist() for name, value in given.items()} == {"state": [[1.0, 1.0]], "mood": [[2.0, 2.0]]}


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"logits": "stat"}, "expected outputs among state, mood, got 'stat'"),
        ({"logits": "state", "mood": "state"}, "expected outputs with a name of its own for each"),
        ({"mood": "state"}, "expected an output 'mood', and one alone"),
        ({"logit": "state"}, "expected an output 'logit', and one alone, the graph has logits, mood: name which is"),
        ({}, "expected an output 'state'"),
    ],
)
def test_outputs_that_are_named_wrong_are_one_sentence(tmp_path: Path, outputs: dict[str, str], words: str):
    onnx.save(head_graph(), tmp_path / "given.onnx")
    with pytest.raises(ContractError, match=words):
        OnnxPart(OnnxFile(tmp_path / "given.onnx", outputs=outputs)).run(
            {"imu": np.ones((1, 2), np.float32)}, (STATE, MOOD)
        )


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/passwd", "linked.bin"])
def test_external_data_outside_of_the_folder_is_not_read(tmp_path: Path, place: str):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(TABLE.tobytes() * 4)
    (folder / "linked.bin").symlink_to(tmp_path / "outside.bin")
    onnx.save(text_graph(), folder / "given.onnx", save_as_external_data=True, location="own.bin", size_threshold=70)
    model = onnx.load(folder / "given.onnx", load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location").value = place
    onnx.save(model, folder / "given.onnx")
    with pytest.raises(ExportError, match="expected an ONNX graph that ONNX Runtime opens"):
        onnx_reference(folder / "given.onnx")
    with pytest.raises(ExportError):
        adapt_graph(folder / "given.onnx", tmp_path / "x.onnx", (IDS,), (FEATURES,), lengths=LENGTHS)
    assert not (tmp_path / "x.onnx").exists()


def test_weights_that_no_file_holds_are_refused_before_they_are_exported():
    require_one_file(2_000_000_000)
    with pytest.raises(ExportError, match=r"at most 2.13 GB, which an ONNX file holds, got 4.00 GB in float32"):
        require_one_file(4_000_000_000)


def unknown_operator() -> onnx.ModelProto:
    model = text_graph(opset=8)
    model.graph.node[0].op_type = "Upsample"
    return model


@pytest.mark.parametrize(
    ("model", "renames", "message"),
    [
        (
            text_graph(),
            {},
            "inputs ids, mask, the graph has input_ids, attention_mask: name which is which",
        ),
        (text_graph(), {"nothing": "ids"}, "the graph has input_ids, attention_mask, last_hidden_state, not nothing"),
        (
            text_graph(),
            {"input_ids": "ids", "attention_mask": "mask"},
            "expected the output features, the graph has last_hidden_state",
        ),
        (
            text_graph(tokens=6),
            RENAMES,
            r"ids \(batch, tokens\), the graph has \(b, 6\): export it again with tokens as a dynamic axis",
        ),
        (text_graph(reads_mask=False), RENAMES, "reads all of its inputs, it does not read mask"),
        (text_graph(frozen=6), RENAMES, "runs at any length, it fails at tokens = 9: export it with dynamic axes"),
        (unknown_operator(), RENAMES, "expected opset 17 or later, got 8, which onnx cannot convert"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused_in_one_sentence(
    tmp_path: Path, model: onnx.ModelProto, renames: dict[str, str], message: str
):
    source = tmp_path / "given.onnx"
    onnx.save(model, source)
    with pytest.raises(ExportError, match=message) as refused:
        adapt_graph(source, tmp_path / "text.onnx", (IDS, MASK), (FEATURES,), lengths=LENGTHS, renames=renames)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_no_onnx_or_lacks_its_weights_is_refused(tmp_path: Path):
    source = tmp_path / "given.onnx"
    source.write_bytes(b"no graph at all")
    with pytest.raises(ExportError, match="expected an ONNX graph, got DecodeError"):
        adapt_graph(source, tmp_path / "x.onnx", (IDS,), (FEATURES,), lengths=LENGTHS)
    with pytest.raises(ExportError, match="expected an ONNX graph that ONNX Runtime opens"):
        onnx_reference(source)
    onnx.save(text_graph(), source, save_as_external_data=True, location="given.data", size_threshold=70)
    (tmp_path / "given.data").unlink()
    with pytest.raises(ExportError, match=r"given.onnx: expected .*given\.data"):
        adapt_graph(source, tmp_path / "x.onnx", (IDS,), (FEATURES,), lengths=LENGTHS)
