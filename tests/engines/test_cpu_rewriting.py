"""Rewriting whole parts for processors: networks as people write them, graphs that stay as they are, hostile ones."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import helper

from taemi_edge.engines.cpu_rewriting import rewrite_for_cpu
from taemi_edge.errors import EngineError
from taemi_edge.runtime.onnx_sessions import optimise
from tests.calibration.fused.graphs import FLOAT, dynamic, graph_of, model, node, operators, run

ATTENTION = "MultiHeadAttention"
#: Every way of writing attention, without and with a causal mask.
WAYS = [(way, hides) for way in ("sdpa", "eager", "filled", "packed", "split", "batched") for hides in (False, True)]
X = {"x": (FLOAT, ("batch", "steps", 24))}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A network whose layers write attention in every way."""
    pytest.importorskip("torch")
    from tests.calibration.fused.modules import Ways, exported

    return exported(Ways(*WAYS), tmp_path_factory.mktemp("ways"))


@pytest.fixture(scope="module")
def rewritten(ways: bytes) -> bytes:
    return rewrite_for_cpu(ways, "part")


def _feeds(batch: int, steps: int, hidden: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(batch * 100 + steps)
    mask = np.ones((batch, steps), np.int32)
    if hidden == "ragged":
        mask[:, 1:] = random.integers(0, 2, (batch, steps - 1))
    elif hidden == "a whole sample":
        mask[-1] = 0
    elif hidden == "the first step":
        mask[:, 0] = 0
    return {"x": random.standard_normal((batch, steps, 24)).astype(np.float32), "mask": mask}


def test_attention_is_one_operator_however_it_is_written(ways: bytes, rewritten: bytes):
    before, after = operators(ways), operators(rewritten)
    assert after[ATTENTION] == len(WAYS)
    assert after["Softmax"] == after["IsNaN"] == after["Sqrt"] == 0
    assert (before["Shape"] > 20, after["Shape"] < 8) == (True, True)


@pytest.mark.parametrize("hidden", ["nothing", "ragged", "a whole sample", "the first step"])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 9), (4, 2), (3, 40)])
def test_values_are_those_of_the_original(ways: bytes, rewritten: bytes, batch: int, steps: int, hidden: str):
    feeds = _feeds(batch, steps, hidden)
    expected, found = run(ways, feeds), run(rewritten, feeds)
    assert np.array_equal(np.isnan(expected), np.isnan(found))
    assert np.allclose(expected, found, atol=2e-5, equal_nan=True)


def test_products_that_are_quantised_stay_so(ways: bytes):
    quantised = dynamic(graph_of(ways))
    made = rewrite_for_cpu(quantised, "part")
    assert operators(made)[ATTENTION] == len(WAYS)
    assert operators(made)["DynamicQuantizeLinear"] == operators(quantised)["DynamicQuantizeLinear"]


def test_an_optimised_file_opens_again_and_gives_the_same(rewritten: bytes, tmp_path: Path):
    optimise(rewritten, tmp_path / "part.onnx")
    content = (tmp_path / "part.onnx").read_bytes()
    assert operators(content)[ATTENTION] == len(WAYS)
    feeds = _feeds(2, 7, "ragged")
    assert np.allclose(run(rewritten, feeds), run(content, feeds), atol=2e-5)


@pytest.mark.nightly
def test_pytorchs_own_layers_are_rewritten(tmp_path: Path):
    pytest.importorskip("torch")
    from tests.calibration.fused.modules import Layers, exported

    content = exported(Layers(), tmp_path)
    assert operators(rewrite_for_cpu(content, "part"))[ATTENTION] == 2


def test_a_head_in_which_one_sequence_reads_another_is_rewritten(tmp_path: Path):
    pytest.importorskip("torch")
    from tests.calibration.fused.modules import CrossAttention, exported

    content = exported(CrossAttention(), tmp_path, streams=("x", "y"))
    made = rewrite_for_cpu(content, "part")
    assert operators(made)[ATTENTION] == 1
    random = np.random.default_rng(0)
    for steps, others in ((1, 1), (1, 9), (6, 3)):
        feeds = {
            name: random.standard_normal((3, n, 24)).astype(np.float32) for name, n in (("x", steps), ("y", others))
        }
        feeds |= {"x_mask": np.ones((3, steps), np.int32), "y_mask": np.ones((3, others), np.int32)}
        feeds["y_mask"][1] = 0  # a stream that is missing
        assert np.allclose(run(content, feeds), run(made, feeds), atol=2e-5, equal_nan=True)


def _attention(*between: onnx.NodeProto, last: str = "scores", **constants: np.ndarray) -> bytes:
    """One attention over x with nodes of a test between the scores and the softmax."""
    nodes = [
        node("Reshape", "x heads", "split"),
        node("Transpose", "split", "query", perm=[0, 2, 1, 3]),
        node("Transpose", "split", "key", perm=[0, 2, 3, 1]),
        node("MatMul", "query key", "scores"),
        *between,
        node("Softmax", last, "shares", axis=-1),
        node("MatMul", "shares query", "context"),
        node("Transpose", "context", "back", perm=[0, 2, 1, 3]),
        node("Reshape", "back whole", "out"),
    ]
    return model(nodes, X, heads=np.array([0, 0, 3, 8]), rank=3, whole=np.array([0, 0, 24]), **constants)


def test_attention_of_three_equal_sides_is_found():
    assert operators(rewrite_for_cpu(_attention(), "part")) == {ATTENTION: 1, "Identity": 1}


LEFT_ALONE = {
    "scores that are capped": _attention(node("Tanh", "scores", "capped"), last="capped"),
    "a number that is not low enough to be added": _attention(
        node("Where", "seen scores low", "kept"), last="kept", seen=np.ones((1, 1, 1, 1), bool), low=np.float32(-9)
    ),
    "scores that are added to themselves": _attention(node("Add", "scores scores", "twice"), last="twice"),
    "no attention": model([node("Relu", "x", "out")], X, rank=3),
    "a recurrence": model(
        [node("GRU", "x w r", "all out", hidden_size=4)],
        X,
        rank=3,
        w=np.ones((1, 12, 24), np.float32),
        r=np.ones((1, 12, 4), np.float32),
    ),
}


@pytest.mark.parametrize("content", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_is_something_else_is_left_alone(content: bytes):
    with pytest.raises(EngineError, match="part: nothing to fuse"):
        rewrite_for_cpu(content, "part")


def _changed(**changes: object) -> bytes:
    """An attention that breaks a rule of ONNX."""
    made = onnx.load_model_from_string(_attention())
    nodes = made.graph.node
    if "order" in changes:
        nodes.insert(0, nodes.pop())
    if "missing" in changes:
        nodes[3].input[1] = "nowhere"
    if "domain" in changes:
        nodes[3].domain = "some.where"
    if "twice" in changes:
        nodes.append(nodes[3])
    if "circle" in changes:
        nodes[0].input[0] = "back"
    if "function" in changes:
        made.functions.append(
            helper.make_function("f", "F", ["a"], ["b"], [node("Relu", "a", "b")], [helper.make_opsetid("", 17)])
        )
        made.opset_import.append(helper.make_opsetid("f", 1))
    if "shape" in changes:
        made.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([0, 0, 5, 5]), "heads"))
    if "perm" in changes:
        nodes[1].attribute[0].ints[:] = [0, 2, 7, 3]
    if "files" in changes:
        made.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    if "axis" in changes:
        next(n for n in nodes if n.op_type == "Softmax").attribute[0].i = 9
    return made.SerializeToString()


@pytest.mark.parametrize(
    "change", ["order", "missing", "domain", "twice", "circle", "function", "shape", "perm", "files", "axis"]
)
def test_graphs_that_break_rules_end_in_one_sentence(change: str):
    with pytest.raises(EngineError) as error:
        rewrite_for_cpu(_changed(**{change: True}), "part")
    assert str(error.value).startswith("part")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no graph", _attention()[:150], bytes(range(256)) * 4])
def test_bytes_that_are_no_graph_end_in_one_sentence(content: bytes):
    with pytest.raises(EngineError, match="part: expected"):
        rewrite_for_cpu(content, "part")


def test_a_machine_without_onnx_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    monkeypatch.setattr("taemi_edge.engines.cpu_rewriting.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"needs the package onnx: run `pip install 'taemi-edge\[export\]'`"):
        rewrite_for_cpu(_attention(), "part")
