"""Graphs: captured when a case comes up again, replayed, and bounded in number."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase
from taemi_edge.runtime.tensorrt.graphs import GraphCache, load_driver

CASES = [GraphCase((EncoderCase("front", frames),), None) for frames in (1, 2, 3)]


def test_a_case_is_captured_when_it_comes_up_again(gpu, device):
    cache, ran = GraphCache(load_driver()[0], gpu), []

    def enqueue() -> None:
        device.do(lambda: ran.append("work"))

    assert cache.find(CASES[0], enqueue) is None
    cache.note(CASES[0])
    graph = cache.find(CASES[0], enqueue)
    assert ran == []  # capturing runs nothing
    graph.launch()
    assert ran == ["work"]
    assert cache.find(CASES[0], enqueue) is graph
    cache.close()
    assert len(cache) == 0


def test_a_full_cache_gives_up_the_graph_that_was_used_least_recently(gpu):
    cache = GraphCache(load_driver()[0], gpu, most=2)
    for case in CASES:
        cache.note(case)
    first, second = (cache.find(case, lambda: None) for case in CASES[:2])
    assert cache.find(CASES[0], lambda: None) is first
    cache.find(CASES[2], lambda: None)
    assert len(cache) == 2
    assert cache.find(CASES[0], lambda: None) is first
    assert cache.find(CASES[1], lambda: None) is not second


@pytest.mark.parametrize("most", [1, 3, 96])
def test_the_cache_keeps_what_was_used_last_whatever_comes(gpu, most: int):
    """Against a list in the order of use, over a long run of cases of which some come up often."""
    cache, kept = GraphCache(load_driver()[0], gpu, most=most), []
    cases = [GraphCase((EncoderCase("front", frames),), None) for frames in range(3 * most)]
    for case in cases:
        cache.note(case)
    rng = np.random.default_rng(most)
    for number in np.minimum(rng.geometric(1 / most, 600), len(cases)) - 1:
        found = cache.find(cases[number], lambda: None)
        before = next((graph for at, graph in kept if at == number), None)
        assert before is None or found is before
        kept = [(at, graph) for at, graph in kept if at != number][-(most - 1) :] if most > 1 else []
        kept.append((number, found))
        assert len(cache) == len(kept)


def test_graphs_go_with_the_contexts_that_they_use(gpu):
    cache = GraphCache(load_driver()[0], gpu)
    for case in CASES:
        cache.note(case)
        cache.find(case, lambda: None)
    cache.forget(EncoderCase("front", 2))
    assert len(cache) == 2
    cache.forget(EncoderCase("front", 99))
    assert len(cache) == 2
    assert cache.find(CASES[1], lambda: None) is None  # a new context runs once before it is captured


def test_without_a_driver_nothing_is_captured(gpu):
    without = GraphCache(None, gpu)
    without.note(CASES[0])
    assert without.find(CASES[0], lambda: None) is None
