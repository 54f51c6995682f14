"""Weights of seven bits: no pair of products leaves 16 bits, whatever the activations are."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks are written in PyTorch")
pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.calibration.graph_sessions import open_graph
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import quantise
from taemi_edge.calibration.graphs.seven_bits import LEAST, MOST, with_seven_bit_weights
from taemi_edge.calibration.graphs.unsigned_qdq import quantise_for_hosts
from tests.calibration.graphs.host_models import feeds_of, graph_of, plan_of


def weights_of(graph: Graph, only_constants: bool = False) -> dict[str, np.ndarray]:
    """The signed weights of each layer as its sums read them, (outputs, products of one output)."""
    found = {}
    for node in graph.nodes:
        pair = graph.producers.get(node.input[1]) if node.op_type in ("Conv", "MatMul", "Gemm") else None
        if pair is not None and only_constants and pair.input[0] not in graph.initialisers:
            continue
        if pair is not None and pair.op_type == "DequantizeLinear":
            steps = graph.value(pair.input[0])
            found[node.name] = steps.reshape(len(steps), -1) if node.op_type == "Conv" else steps.T
    return found


def vpmaddubsw(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sums of products as AVX2 has them: each pair of products is saturated to 16 bits before it is added up."""
    products = activations.astype(np.int64) * weights.astype(np.int64)
    padded = np.pad(products, ((0, 0), (0, products.shape[1] % 2)))
    pairs = padded.reshape(len(padded), -1, 2).sum(2)
    return np.clip(pairs, -32768, 32767).sum(1)


def test_the_largest_pair_of_products_is_in_16_bits():
    assert 2 * 255 * max(-LEAST, MOST) <= 32767 < 2 * 255 * 127


@pytest.mark.parametrize("name", ["plain", "mobile", "after"])
def test_sums_of_every_layer_are_exact_at_the_worst_activations(name):
    graph = graph_of(name)
    made = quantise_for_hosts(graph, plan_of(graph, feeds_of(name)), "int8-u8")
    lost = 0
    before, after = weights_of(made), weights_of(with_seven_bit_weights(made))
    for steps, halved in zip(before.values(), after.values(), strict=True):
        assert (halved.min() >= LEAST, halved.max() <= MOST) == (True, True)
        for worst in (np.where(halved > 0, 255, 0), np.where(halved < 0, 255, 0)):
            np.testing.assert_array_equal(vpmaddubsw(worst, halved), (worst * halved.astype(np.int64)).sum(1))
            lost += np.abs(vpmaddubsw(worst, steps) - (worst * steps.astype(np.int64)).sum(1)).sum()
    assert lost  # with eight bits the emulation does saturate


@pytest.mark.parametrize("flavour", ["int8-u8", "int8-dynamic"])
@pytest.mark.parametrize("name", ["plain", "residual", "mobile", "sound"])
def test_a_graph_with_seven_bits_stays_near_the_one_with_eight(name, flavour):
    graph = graph_of(name)
    made = quantise_for_hosts(graph, plan_of(graph, feeds_of(name)), flavour)
    before = made.bytes()
    halved = with_seven_bit_weights(made)
    assert made.bytes() == before
    feeds = feeds_of(name, 3, first=50)
    eight, seven = (
        np.concatenate([open_graph(each.bytes()).run(None, feed)[0].ravel() for feed in feeds])
        for each in (made, halved)
    )
    assert np.corrcoef(eight, seven)[0, 1] > 0.99
    for node in halved.nodes:  # a bias is in steps of its input's scale times its weight's
        if node.op_type == "Conv":
            source, weight, bias = (halved.producers[name] for name in node.input)
            expected = halved.value(source.input[1]) * halved.value(weight.input[1])
            np.testing.assert_allclose(halved.value(bias.input[1]), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["plain", "mobile", "after", "sound"])
def test_weights_that_tensorrt_wants_in_fp32_become_seven_bits_too(name):
    graph = graph_of(name)
    made = quantise(graph, plan_of(graph, feeds_of(name)))
    assert not weights_of(made, only_constants=True), "they are FP32 with a Q/DQ pair"
    halved = with_seven_bit_weights(made)
    layers = weights_of(halved)
    assert len(layers) == len(graph.layers())
    for steps in layers.values():
        assert (steps.dtype, steps.min() >= LEAST, steps.max() <= MOST) == (np.int8, True, True)
        assert np.abs(steps).max() > 32
    feeds = feeds_of(name, 3, first=50)
    eight, seven = (
        np.concatenate([open_graph(each.bytes()).run(None, feed)[0].ravel() for feed in feeds])
        for each in (made, halved)
    )
    assert np.corrcoef(eight, seven)[0, 1] > 0.99


def test_weights_of_a_graph_that_is_not_quantised_stay():
    graph = graph_of("plain")
    assert with_seven_bit_weights(graph).bytes() == graph.bytes()
