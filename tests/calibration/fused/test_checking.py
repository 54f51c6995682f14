import numpy as np
import pytest

pytest.importorskip("onnx")

from taemi_edge.calibration.fused import checking
from taemi_edge.calibration.fused.checking import require_same_values, without_rounding
from taemi_edge.errors import EngineError
from tests.calibration.fused.graphs import FLOAT, dynamic, graph_of, model, node, operators

X = {"x": (FLOAT, ("batch", "steps", 6))}


def _scaled(factor: float, axis: int = -1) -> bytes:
    nodes = [node("Softmax", "x", "shares", axis=axis), node("Mul", "shares factor", "out")]
    return model(nodes, X, factor=np.float32(factor))


def test_graphs_of_the_same_values_pass():
    require_same_values(graph_of(_scaled(2.0)), graph_of(_scaled(2.0 + 1e-6)), "part")


@pytest.mark.parametrize("other", [_scaled(2.1), _scaled(2.0, axis=1), model([node("Relu", "x", "out")], X)])
def test_other_values_are_refused_with_the_sizes_at_which_they_were_found(other):
    with pytest.raises(EngineError, match=r"part: expected a rewritten graph with the values .* at x 1x10"):
        require_same_values(graph_of(_scaled(2.0)), graph_of(other), "part")


def test_a_graph_that_fails_at_other_lengths_is_refused():
    fixed = model([node("Reshape", "x target", "out")], X, target=np.array([1, 8, 6]))
    plain = model([node("Identity", "x", "out")], X)
    with pytest.raises(EngineError, match="the rewritten graph to run as the original does, failed at x 1x10x6"):
        require_same_values(graph_of(plain), graph_of(fixed), "part")


def test_integers_are_compared_without_their_rounding_too():
    # a wrong scale of 3 % hides in the rounding of a graph in INT8, and is found without it
    weight = {"w": np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)}
    nodes = [node("MatMul", "x w", "product"), node("Mul", "product factor", "out")]
    graphs = [graph_of(dynamic(graph_of(model(nodes, X, **weight, factor=np.float32(f))))) for f in (1.0, 1.03)]
    assert operators(without_rounding(graphs[0])) == {"MatMul": 1, "Mul": 1}
    with pytest.raises(EngineError, match="within 0.001"):
        require_same_values(*graphs, "part")


def test_inputs_that_cannot_be_drawn_are_said():
    words = model([node("Cast", "x", "out", to=FLOAT)], {"x": (8, ("batch",))})
    with pytest.raises(EngineError, match="found none"):
        require_same_values(graph_of(words), graph_of(words), "part")


def _compared(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the input at which a graph is compared with itself."""
    real, shapes = checking._run, []

    def run(session, feed):
        found = real(session, feed)
        shapes.extend([] if found is None else [feed["x"].shape])
        return found

    monkeypatch.setattr(checking, "_run", run)
    require_same_values(graph_of(graph), graph_of(graph), "part")
    return shapes[::2]  # by both graphs


def _long(shape: tuple[str | int, ...]) -> bytes:
    """Takes 501 steps and more, as a window of sound has them."""
    nodes = [node("Gather", "x at", "late", axis=1), node("Sub", "x late", "out")]
    return model(nodes, {"x": (FLOAT, shape)}, at=np.array([500]))


def test_graphs_of_any_length_are_compared_at_short_ones_alone(monkeypatch):
    shapes = _compared(_scaled(2.0), monkeypatch)
    assert len(shapes) == 6
    assert max(shape[1] for shape in shapes) < 100


def test_graphs_that_take_many_steps_alone_are_compared_in_each_batch_and_no_longer(monkeypatch):
    shapes = _compared(_long(("batch", "steps", 6)), monkeypatch)
    assert {shape[0] for shape in shapes} == {1, 2, 3}
    assert max(shape[1] for shape in shapes) <= 875


def test_samples_of_sound_are_compared_at_the_lengths_of_sound(monkeypatch):
    assert max(shape[1] for shape in _compared(_long(("batch", "samples")), monkeypatch)) >= 16_000
