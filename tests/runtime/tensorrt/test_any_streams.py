"""The executor on models of any streams: heads that read rings, and heads that need their windows laid in order."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the models of these tests are exported with torch")
pytest.importorskip("onnx", reason="torch exports through onnx")

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BackendError
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.executor import TIMED_EVERY, TrtExecutor
from taemi_edge.runtime.work import Item, Layout, Work
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.mixed import (
    HEADS,
    NoisySource,
    as_engines,
    mixed_profiles,
    streams_of_every_kind,
    write_mixed_bundle,
)

NAMES = tuple(streams_of_every_kind())
EVERY = frozenset(NAMES)
PATTERNS = [EVERY, *(EVERY - {name} for name in NAMES), frozenset({"words"}), frozenset()]


@pytest.fixture(scope="module")
def device():
    patch = pytest.MonkeyPatch()
    yield stand_in_gpu.install(patch, mixed_profiles())
    patch.undo()


@pytest.fixture(scope="module", params=HEADS)
def graphs(request: pytest.FixtureRequest, device, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("mixed") / "bundle"
    return write_mixed_bundle(folder, HEADS[request.param])


@pytest.fixture
def executor(graphs: Bundle):
    opened = TrtExecutor(as_engines(graphs), Layout(1, 2.0, 0.5), timed=True)
    yield opened
    opened.close()


def same(found, expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-6, err_msg=name)


def test_hop_after_hop_gives_what_each_part_gives_alone(graphs: Bundle, executor: TrtExecutor):
    """The rings wrap several times, windows grow and shrink, streams are lost and come back."""
    source = NoisySource(graphs, executor)
    rng = np.random.default_rng(1)
    for hop in range(60):
        work = source.work(PATTERNS[hop % len(PATTERNS)], new=1 + hop % 3, steps=int(rng.integers(1, 12)))
        [done] = executor.execute([work])
        assert done.faults == frozenset()
        same(done.outputs, source.expected(work))
        assert set(done.part_ms) == work.parts
    assert executor.counters.replayed > 0
    for name in NAMES:
        rows = Span(0, executor.capacity[name])
        np.testing.assert_allclose(executor.features(0, name, rows), source.features(name), atol=2e-6)


def test_the_same_window_replayed_and_launched_is_the_same(graphs: Bundle, executor: TrtExecutor):
    source = NoisySource(graphs, executor)
    for pattern in PATTERNS:
        work = source.work(pattern, new=1, steps=4)
        found = []
        for replaying in (False, True, True):
            executor.replaying = replaying
            found.append(executor.execute([work])[0].outputs)
        assert executor.backend == "tensorrt+graph"
        for one in found[1:]:
            assert all(np.array_equal(one[name], found[0][name]) for name in one)


@pytest.mark.parametrize("how", ["registered", "allocated", "copied"])
def test_whatever_memory_inputs_lie_in_each_hop_gives_the_same(graphs: Bundle, device, how: str):
    """Slots of the pool, slots that the driver allocates, and copies; a NaN is told in its hop and in no other."""
    device.registers = how == "registered"
    try:
        executor = TrtExecutor(as_engines(graphs), Layout(2, 2.0, 0.5), mapped=how != "copied")
    finally:
        device.registers = True
    try:
        sources = [NoisySource(graphs, executor, index, seed=index) for index in range(2)]
        for hop, pattern in enumerate(PATTERNS):
            works = [source.work(pattern, new=1 + hop % 2, steps=3 + hop % 4) for source in sources]
            works = [in_slots(executor, work) for work in works]
            for work, done in zip(works, executor.execute(works), strict=True):
                assert done.faults == frozenset()
                same(done.outputs, sources[work.source].expected(work))
            noise = Item({"values": np.full((20, 3), np.nan, np.float32)}, Span(0, 0), 1)
            bad = [Work(0, {"imu": [noise]}, works[0].window), works[1]]
            assert [done.faults for done in executor.execute(bad)] == [frozenset()] * 2  # nothing of it is kept
            noise = Item(noise.feeds, Span(0, 1))
            assert [done.faults for done in executor.execute([Work(1, {"imu": [noise]}, fuse=False)])] == [{"imu"}]
            sources[1].features("imu")[0] = 0
    finally:
        executor.close()


def in_slots(executor: TrtExecutor, work: Work) -> Work:
    """The same work with its inputs in slots, as far as there are any."""
    items: dict[str, list[Item]] = {}
    for name, given in work.items.items():
        pool = executor.slots(name)
        for item in given:
            slot = None if pool is None else pool.take()
            [(tensor, value)] = item.feeds.items()
            if slot is not None:
                place = slot.array if slot.array.shape == value.shape else slot.array[: len(value)]
                place[...] = value
                item = Item({tensor: place}, item.rows, item.skipped, slot.number)
            items.setdefault(name, []).append(item)
    return Work(work.source, items, work.window, work.fuse)


@pytest.mark.parametrize("mapped", [True, False])
def test_what_is_pinned_is_freed_while_the_context_is_there(graphs: Bundle, device, mapped: bool):
    before, outlived = device.open_pinned, device.outlived
    executor = TrtExecutor(as_engines(graphs), Layout(1, 2.0, 0.5), mapped=mapped)
    executor.execute([NoisySource(graphs, executor).work(EVERY)])
    assert device.open_pinned > before
    executor.close()
    assert (device.open_pinned, device.outlived) == (before, outlived)


def test_parts_are_timed_in_one_hop_of_sixteen_unless_all_are_asked_for(graphs: Bundle):
    executor = TrtExecutor(as_engines(graphs), Layout(1, 2.0, 0.5))
    try:
        work = NoisySource(graphs, executor).work(EVERY)
        done = [executor.execute([work])[0] for _ in range(2 * TIMED_EVERY + 1)]
        timed = [result.part_ms for result in done if result.part_ms is not None]
        assert [hop for hop, result in enumerate(done) if result.part_ms is not None] == [
            0,
            TIMED_EVERY,
            2 * TIMED_EVERY,
        ]
        assert all(set(part_ms) == work.parts for part_ms in timed)
        assert executor.device_ms > 0
    finally:
        executor.close()


def test_sources_of_different_patterns_and_lengths_share_calls(graphs: Bundle):
    executor = TrtExecutor(as_engines(graphs), Layout(3, 2.0, 0.5))
    try:
        sources = [NoisySource(graphs, executor, index, seed=index) for index in range(3)]
        for hop, patterns in enumerate(product(PATTERNS[:4], [EVERY, frozenset({"mic", "imu"})], [EVERY])):
            works = [
                source.work(pattern, new=1 + hop % 2, steps=3 + index)
                for index, (source, pattern) in enumerate(zip(sources, patterns, strict=True))
            ]
            asked = works[hop % 2 :]  # now and then a source has no hop
            for work, done in zip(asked, executor.execute(asked), strict=True):
                same(done.outputs, sources[work.source].expected(work))
            if hop % 2:
                executor.execute([Work(works[0].source, works[0].items, fuse=False)])
    finally:
        executor.close()


def test_windows_of_one_length_share_a_call_of_a_head_without_masks(graphs: Bundle):
    executor = TrtExecutor(as_engines(graphs), Layout(2, 2.0, 0.5))
    try:
        sources = [NoisySource(graphs, executor, index, seed=index) for index in range(2)]
        live = EVERY - {"words"}
        for lengths, calls in (((4, 4), 1), ((4, 5), 1 if graphs.manifest.head.masks else 2)):
            works = [source.work(live, new=3, steps=n) for source, n in zip(sources, lengths, strict=True)]
            before = executor.counters.launched + executor.counters.replayed
            executor.execute([Work(w.source, w.items, fuse=False) for w in works])
            encoding = executor.counters.launched + executor.counters.replayed - before
            executor.execute([Work(w.source, {}, w.window) for w in works])
            assert executor.counters.launched + executor.counters.replayed - before - encoding == calls
    finally:
        executor.close()


def test_a_nan_is_told_by_its_stream_and_keeps_the_ring_clean(graphs: Bundle, executor: TrtExecutor):
    source = NoisySource(graphs, executor)
    good = source.work(EVERY, new=4)
    executor.execute([good])
    [item] = source.work(frozenset({"imu"})).items["imu"]
    bad = Item({"values": np.full_like(item.feeds["values"], np.nan)}, item.rows, item.skipped)
    [done] = executor.execute([Work(0, {"imu": [bad]}, good.window)])
    assert (done.faults, done.outputs) == ({"imu"}, None)
    assert np.isfinite(executor.features(0, "imu", Span(0, executor.capacity["imu"]))).all()


def test_contexts_and_graphs_stay_few_where_lengths_never_settle(graphs: Bundle, executor: TrtExecutor):
    executor._graphs._most, executor._bindings._most = 5, 12
    source = NoisySource(graphs, executor)
    for hop in range(40):
        work = source.work(PATTERNS[hop % 5], new=1 + hop % 4, steps=1 + hop % 9)
        for _ in range(2):
            [done] = executor.execute([work])
        same(done.outputs, source.expected(work))
        assert len(executor._graphs) <= 5
        assert len(executor._bindings) <= 12


def test_more_inputs_than_the_engines_take_are_encoded_before_the_head_runs(graphs: Bundle, executor: TrtExecutor):
    source = NoisySource(graphs, executor)
    work = source.work(EVERY, new=7, steps=9)
    [done] = executor.execute([work])
    same(done.outputs, source.expected(work))


def test_windows_that_the_head_was_not_built_for_say_how_to_build(graphs: Bundle):
    with pytest.raises(BackendError, match=r"5 sources .* do not fit the engines: .*build-engine --sources 5"):
        TrtExecutor(as_engines(graphs), Layout(5, 2.0, 0.5))
