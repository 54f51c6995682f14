import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import helper, numpy_helper

from taemi_edge.calibration.fused.dims import Dim
from taemi_edge.calibration.fused.folding import fold, target_of
from taemi_edge.calibration.graphs.constants import fold_constants
from tests.calibration.fused.graphs import FLOAT, WHOLE, graph_of, model, node, operators, run

X = {"x": (FLOAT, ("batch", "steps", 6))}
B, S, SIX = Dim.named("batch"), Dim.named("steps"), Dim.of(6)


@pytest.mark.parametrize(
    ("before", "after", "target"),
    [
        ((B, S, SIX), (B, S, Dim.of(2), Dim.of(3)), [0, 0, 2, 3]),
        ((B, S, SIX), (B * S, SIX), [-1, 6]),
        ((B * S, SIX), (B, S, SIX), None),
        ((B, S), (S, B), None),
        ((B, S), (B, Dim.of(0)), None),
    ],
)
def test_a_target_is_constant_where_one_does_for_every_input(before, after, target):
    assert target_of(before, after) == target


def test_a_target_that_is_put_together_of_sizes_becomes_a_constant():
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "b"),
        node("Gather", "shape one", "s"),
        node("Unsqueeze", "b axis", "b1"),
        node("Unsqueeze", "s axis", "s1"),
        node("Concat", "b1 s1 minus three", "target", axis=0),
        node("Reshape", "x target", "heads"),
        node("Transpose", "heads", "out", perm=[0, 2, 1, 3]),
    ]
    numbers = {"zero": np.array(0), "one": np.array(1), "axis": np.array([0]), "minus": np.array([-1])}
    content = model(nodes, X, **numbers, three=np.array([3]))
    graph = graph_of(content)
    fold(graph)
    assert operators(graph) == {"Reshape": 1, "Transpose": 1}
    for shape in ((1, 1, 6), (3, 5, 6), (2, 2, 6)):
        feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        assert np.array_equal(run(content, feeds), run(graph, feeds))


def test_sizes_that_change_their_places_stay():
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape order", "target"),
        node("Reshape", "x target", "out"),
    ]
    graph = graph_of(model(nodes, X, order=np.array([1, 0, 2])))
    fold(graph)
    assert operators(graph) == {"Shape": 1, "Gather": 1, "Reshape": 1}


def read_by_an_index(rows: str, columns: str, after: list[int], before: list[int]) -> bytes:
    """A mask (batch, steps) as transformers write it, mask.flatten()[row * steps + column].

    Args:
        rows, columns: which of the axes "after" and "before" the numbers of rows and of columns get.
        after, before: these axes.
    """
    nodes = [
        node("Shape", "mask", "shape"),
        node("Gather", "shape zero", "b"),
        node("Gather", "shape one", "s"),
        node("Range", "zero b one", "rows"),
        node("Range", "zero s one", "columns"),
        node("Unsqueeze", f"rows {rows}", "row"),
        node("Unsqueeze", f"columns {columns}", "column"),
        node("Mul", "row s", "start"),
        node("Add", "start column", "index"),
        node("Flatten", "mask", "flat", axis=2),
        node("Gather", "flat index", "picked", axis=0),
        node("Cast", "picked", "out", to=FLOAT),
    ]
    numbers = {"zero": np.array(0), "one": np.array(1), "after": np.array(after), "before": np.array(before)}
    return model(nodes, {"mask": (WHOLE, ("batch", "steps"))}, **numbers)


def test_a_mask_that_is_read_by_an_index_is_read_as_it_is():
    content = read_by_an_index("after", "before", [1, 2, 3], [0, 1, 2])
    graph = graph_of(content)
    fold(graph)
    assert operators(graph) == {"Reshape": 1, "Cast": 1}
    feeds = {"mask": np.arange(15).reshape(3, 5)}
    assert np.array_equal(run(content, feeds), run(graph, feeds))


def test_a_mask_whose_rows_are_read_in_another_order_is_left_alone():
    content = read_by_an_index("before", "after", [1], [0])
    graph = graph_of(content)
    fold(graph)
    assert operators(graph)["Gather"] >= 1
    feeds = {"mask": np.arange(15).reshape(3, 5)}
    assert np.array_equal(run(content, feeds), run(graph, feeds))


def test_an_embedding_of_which_one_row_is_read_is_that_row():
    nodes = [
        node("Shape", "ids", "shape"),
        node("ConstantOfShape", "shape", "types", value=numpy_helper.from_array(np.array([1]))),
        node("Gather", "words ids", "word"),
        node("Gather", "kinds types", "kind"),
        node("Add", "word kind", "out"),
    ]
    random = np.random.default_rng(0)
    tables = {"words": random.random((9, 4), np.float32), "kinds": random.random((2, 4), np.float32)}
    content = model(nodes, {"ids": (WHOLE, ("batch", "steps"))}, **tables)
    graph = graph_of(content)
    fold(graph)
    assert operators(graph) == {"Gather": 1, "Add": 1}
    feeds = {"ids": np.array([[1, 8], [0, 3]])}
    assert np.array_equal(run(content, feeds), run(graph, feeds))


def test_branches_keep_what_they_read():
    inner = [
        helper.make_graph(
            [node("Identity", "same", word)], word, [], [helper.make_tensor_value_info(word, FLOAT, None)]
        )
        for word in ("yes", "no")
    ]
    nodes = [
        node("Shape", "x", "shape"),
        node("Reshape", "x shape", "same"),
        node("If", "choice", "out", then_branch=inner[0], else_branch=inner[1]),
    ]
    content = model(nodes, X, choice=np.array(True))
    graph = graph_of(content)
    fold(graph)
    feeds = {"x": np.ones((2, 3, 6), np.float32)}
    assert np.array_equal(run(content, feeds), run(graph, feeds))


def test_weights_and_random_numbers_are_no_constants_to_be_computed():
    nodes = [
        node("DequantizeLinear", "w scale", "weight"),
        node("RandomNormal", "", "noise", shape=[6]),
        node("Sqrt", "four", "two"),
        node("MatMul", "x weight", "product"),
        node("Add", "product noise", "noisy"),
        node("Mul", "noisy two", "out"),
    ]
    weights = {"w": np.ones((6, 6), np.int8), "scale": np.float32(0.5), "four": np.float32(4)}
    graph = graph_of(model(nodes, X, **weights))
    fold_constants(graph)
    assert operators(graph) == {"DequantizeLinear": 1, "RandomNormal": 1, "MatMul": 1, "Add": 1, "Mul": 1}


def test_what_is_computed_twice_is_computed_once():
    nodes = [
        node("Mul", "x two", "a"),
        node("Mul", "x also", "b"),
        node("RandomNormalLike", "x", "noise"),
        node("RandomNormalLike", "x", "other"),
        node("Sub", "noise other", "zero"),
        node("Add", "a b", "sum"),
        node("Add", "sum zero", "out"),
    ]
    graph = graph_of(model(nodes, X, two=np.float32(2), also=np.float32(2)))
    fold(graph)
    assert operators(graph) == {"Mul": 1, "RandomNormalLike": 2, "Sub": 1, "Add": 2}
