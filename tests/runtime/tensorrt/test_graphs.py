"""Graphs: captured when a case comes up again, replayed, and bounded in number."""

from __future__ import annotations

from taemi_edge.runtime.tensorrt.calls import GraphCase
from taemi_edge.runtime.tensorrt.graphs import GraphCache, load_driver

CASES = [GraphCase(frames, (0, 0), (0, 0), None) for frames in range(3)]


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


def test_a_full_cache_and_one_without_a_driver_capture_nothing(gpu):
    full, without = GraphCache(load_driver()[0], gpu, most=1), GraphCache(None, gpu)
    for case in CASES:
        full.note(case)
        without.note(case)
    found = [full.find(case, lambda: None) is not None for case in CASES]
    assert found == [True, False, False]
    assert without.find(CASES[0], lambda: None) is None
