"""What is wrong with a graph is found by running it: frozen lengths, unread inputs, other values, no numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

import onnx
from onnx import TensorProto, helper

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.example_feeds import Examples
from taemi_edge.export.graph_problems import graph_problems, unread_inputs
from taemi_edge.export.reference_cases import Declared, reference_cases
from taemi_edge.export.tracing import trace_module

X = TensorSpec(name="x", dtype="float32", shape=("batch", "tokens"))
Y = TensorSpec(name="y", dtype="float32", shape=("batch", "tokens"))
MASK = TensorSpec(name="mask", dtype="int32", shape=("batch", "tokens"))
LENGTHS = {"batch": 2, "tokens": 7}


class BakedBatch(torch.nn.Module):
    """Python's int() takes a length out of the trace; the graph still declares it dynamic."""

    def forward(self, x):
        return x.reshape(int(x.shape[0]), -1)


class BakedLength(torch.nn.Module):
    """A constant of the traced length."""

    def forward(self, x):
        return x + torch.ones(int(x.shape[1]))


class BakedValue(torch.nn.Module):
    """Shapes are right at every length; a divisor is the traced length."""

    def forward(self, x):
        return x / int(x.shape[1])


class Identity(torch.nn.Module):
    def forward(self, x, mask):
        return x * mask


def problems(module: torch.nn.Module, file: Path) -> list[str]:
    declared = Declared(module.eval(), Examples((X,)), (Y,))
    trace_module(declared, file, lengths=LENGTHS, opset=17)
    return graph_problems(file, declared, reference_cases(declared, LENGTHS), LENGTHS)


@pytest.mark.parametrize(("module", "dim"), [(BakedBatch(), "batch"), (BakedLength(), "tokens")])
def test_a_dimension_that_the_exporter_froze_is_found(tmp_path: Path, module: torch.nn.Module, dim: str):
    (found,) = problems(module, tmp_path / "frozen.onnx")
    declared = onnx.load(tmp_path / "frozen.onnx").graph.output[0].type.tensor_type.shape.dim
    assert [bool(d.dim_param) for d in declared] == [True, True]
    assert found.startswith(f"froze {dim} (traced at {LENGTHS[dim]}; at {dim} = ")


def test_other_values_at_other_lengths_are_found_where_shapes_are_right(tmp_path: Path):
    found = problems(BakedValue(), tmp_path / "value.onnx")
    assert [text.partition(" (")[0] for text in found] == [
        "gives other values than PyTorch at tokens = 3",
        "gives other values than PyTorch at tokens = 10",
    ]


def test_a_graph_without_problems_has_none(tmp_path: Path):
    assert problems(torch.nn.Tanh(), tmp_path / "tanh.onnx") == []


def graph(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens"]),
        helper.make_tensor_value_info("mask", TensorProto.INT32, ["batch", "tokens"]),
    ]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens"])
    return helper.make_model(
        helper.make_graph(list(nodes), "g", values, [out]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


def test_an_input_of_which_only_the_shape_is_read_is_unread():
    nodes = [helper.make_node("Shape", ["mask"], ["shape"]), helper.make_node("Reshape", ["x", "shape"], ["y"])]
    assert unread_inputs(graph(*nodes), ["x", "mask"]) == ["mask"]


def test_an_input_that_a_body_reads_is_read():
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["batch", "tokens"])
    body = helper.make_graph([helper.make_node("Cast", ["mask"], ["inner"], to=1)], "then", [], [value])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["inner"])], "else", [], [value])
    flag = helper.make_node("Constant", [], ["flag"], value=helper.make_tensor("f", TensorProto.BOOL, [], [True]))
    choose = helper.make_node("If", ["flag"], ["y"], then_branch=body, else_branch=other)
    assert unread_inputs(graph(flag, choose), ["x", "mask"]) == []


def test_numbers_that_the_graph_alone_does_not_give_are_found(tmp_path: Path):
    file = tmp_path / "nan.onnx"
    zero = helper.make_node("Cast", ["mask"], ["m"], to=1)
    onnx.save(graph(zero, helper.make_node("Div", ["x", "m"], ["a"]), helper.make_node("Mul", ["a", "m"], ["y"])), file)
    declared = Declared(Identity(), Examples((X, MASK)), (TensorSpec(name="y", dtype="float32", shape=("batch", "n")),))
    found = graph_problems(file, declared, reference_cases(declared, LENGTHS), LENGTHS)
    assert found[0] == "gives NaN or infinity in y at the traced lengths"


def test_steps_behind_a_mask_are_not_compared(tmp_path: Path):
    file = tmp_path / "padding.onnx"
    onnx.save(
        graph(
            helper.make_node("Cast", ["mask"], ["m"], to=1),
            helper.make_node("Add", ["x", "m"], ["a"]),
            helper.make_node("Sub", ["a", "m"], ["y"]),
        ),
        file,
    )
    declared = Declared(Identity(), Examples((X, MASK)), (Y,))
    assert graph_problems(file, declared, reference_cases(declared, LENGTHS), LENGTHS) == []
