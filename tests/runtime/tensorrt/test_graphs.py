"""Graphs: captured when a case comes up again, replayed, and bounded in number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from taemi_edge.errors import BackendError, DeviceLostError
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase
from taemi_edge.runtime.tensorrt.driver import load_driver
from taemi_edge.runtime.tensorrt.executor import TIMED_EVERY
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.graphs import MAX_GRAPHS, CapturedGraph, GraphCache, open_driver
from taemi_edge.runtime.tensorrt.layout import layout_of_sizes
from taemi_edge.runtime.work import Layout

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


def test_cases_that_are_timed_take_the_place_of_no_other(gpu):
    cache = GraphCache(load_driver()[0], gpu, most=2)
    timed = [replace(case, timed=True) for case in CASES]
    for case in CASES:
        cache.note(case)
    kept = [cache.find(case, lambda: None) for case in CASES[:2]]
    for case in timed:  # the contexts of a case have run, timed or not
        assert cache.find(case, lambda: None) is not None
    assert [cache.find(case, lambda: None) for case in CASES[:2]] == kept
    assert len(cache) == 4
    cache.forget(EncoderCase("front", 3))
    assert cache.find(timed[2], lambda: None) is None
    cache.note(timed[2])
    assert cache.find(CASES[2], lambda: None) is not None
    cache.close()
    assert len(cache) == 0


def test_an_ordinary_day_of_sixteen_sources_captures_each_case_once(gpu, opened):
    """Each source brings up to three frames, a chunk, and a new text of 1 to 64 tokens or none; some hops are timed."""
    hops, most = Layout(16, 4.0, 0.5), {"vision": 64, "audio": 32, "text": 16}
    layout = layout_of_sizes(opened[1].manifest, hops, opened[1].steps, most)
    cache, rng = GraphCache(load_driver()[0], gpu), np.random.default_rng(0)
    head = layout.ring_case(frozenset(layout.streams))
    captured: list[GraphCase] = []
    for hop in range(6_000):
        frames, chunks, texts = rng.integers(0, 49), rng.integers(0, 17), rng.integers(0, 17)
        cases = [
            EncoderCase("vision", layout.batch("vision", int(frames))),
            EncoderCase("audio", layout.batch("audio", int(chunks)), 16_000),
            EncoderCase("text", layout.batch("text", int(texts)), layout.tokens("text", int(rng.integers(1, 65)))),
        ]
        case = GraphCase(tuple(one for one in cases if one.batch), head, timed=hop % TIMED_EVERY == 0)
        if cache.find(case, lambda case=case: captured.append(case)) is None:
            cache.note(case)
    assert len(captured) == len(set(captured)) == len(cache) > MAX_GRAPHS
    cache.close()


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


@pytest.fixture
def cache(gpu) -> GraphCache:
    """A cache to which the first case is known, so that it is captured when it is asked for."""
    cache = GraphCache(load_driver()[0], gpu)
    cache.note(CASES[0])
    return cache


def refused_by_tensorrt(gpu, device) -> None:
    raise BackendError("text: TensorRT failed on {}: no kernel for a captured stream")


def refused_by_cuda(gpu, device) -> None:
    raise gpu.cuda.Error("operation not permitted when stream is capturing")


def refused_while_allocating(gpu, device) -> None:
    with gpu.errors("allocating"):
        raise gpu.cuda.Error("operation not permitted when stream is capturing")


def without_a_function(gpu, device) -> None:
    raise RuntimeError('Function "cuStreamBeginCapture_v2" not found')


@pytest.mark.parametrize("refuse", [refused_by_tensorrt, refused_by_cuda, refused_while_allocating, without_a_function])
def test_a_case_that_cannot_be_captured_is_launched_and_not_tried_again(gpu, device, cache: GraphCache, refuse):
    tries = []

    def enqueue() -> None:
        tries.append(None)
        refuse(gpu, device)

    assert cache.find(CASES[0], enqueue) is None
    assert cache.find(CASES[0], enqueue) is None
    assert (len(tries), len(cache), device.recording) == (1, 0, None)
    assert list(cache.uncapturable) == [CASES[0]]
    assert not gpu.lost
    cache.note(CASES[1])
    assert cache.find(CASES[1], lambda: None) is not None  # other cases are captured as ever


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphUpload"])
def test_a_capture_that_cuda_refuses_leaves_the_device_in_use(gpu, cache: GraphCache, monkeypatch, call: str):
    driver = load_driver()[0]
    real = getattr(driver, call)

    def refused(*arguments) -> tuple[int, None]:
        if call == "cuStreamEndCapture":
            real(*arguments)
        return 901, None

    monkeypatch.setattr(driver, call, refused)
    assert cache.find(CASES[0], lambda: None) is None
    assert "CUDA_ERROR" in cache.uncapturable[CASES[0]]
    assert not gpu.lost


def test_a_device_that_is_lost_while_capturing_is_a_lost_device(engines, device, monkeypatch):
    with open_gpu(engines) as gpu:
        cache = GraphCache(load_driver()[0], gpu)
        cache.note(CASES[0])

        def enqueue() -> None:
            monkeypatch.setattr(device, "broken", True)
            device.do(lambda: None)

        with pytest.raises(DeviceLostError, match="the GPU was lost while capturing a graph"):
            cache.find(CASES[0], enqueue)
        assert gpu.lost


@pytest.mark.parametrize(
    "wait",
    [
        lambda gpu: gpu.stream.synchronize(),
        lambda gpu: gpu.cuda.Context.synchronize(),
        lambda gpu: gpu.cuda.Event().synchronize(),
        lambda gpu: gpu.allocate(16),
        lambda gpu: gpu.memory(),
        lambda gpu: gpu.cuda.pagelocked_empty((1,), "f4", mem_flags=0),
    ],
)
def test_the_stand_in_fails_where_something_waits_inside_a_capture(gpu, device, wait):
    with pytest.raises(AssertionError, match="inside a capture"):
        CapturedGraph(load_driver()[0], gpu.stream, lambda: wait(gpu))
    assert device.recording is None


def test_a_graph_is_tried_when_the_driver_is_opened(gpu, monkeypatch):
    driver, problem = open_driver(gpu)
    assert (driver, problem) == (load_driver()[0], "")

    def missing(*_) -> None:
        raise RuntimeError('Function "cuGraphInstantiateWithFlags" not found')

    monkeypatch.setattr(driver, "cuGraphInstantiate", missing)
    words = 'a captured graph does not run on this device (Function "cuGraphInstantiateWithFlags" not found)'
    assert open_driver(gpu) == (None, words)
