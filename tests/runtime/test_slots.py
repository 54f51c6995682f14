"""Hops through an executor that offers slots: predictions are bit for bit the same, and every slot comes back."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bench.host.clip import remembered_faces
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.errors import DeviceLostError
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.slots import NO_SLOT
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime import pipeline as fleets
from taemi_edge.runtime.failover import Failover
from taemi_edge.runtime.kinds import kind_of
from taemi_edge.runtime.kinds.kind import Opening
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.runtime.window import Source
from taemi_edge.runtime.work import Stopwatch
from tests.media import first_hops
from tests.media.counted_slots import CountedSlots
from tests.runtime.tensorrt.mixed import streams_of_every_kind


class SlottedExecutor:
    """The host's executor with a pool for each stream; it checks what lies in the slots of its works.

    Args:
        slots: how many each pool has.
    """

    def __init__(self, bundle: Bundle, layout, slots: int) -> None:
        self._executor = open_executor(bundle, layout, "cpu", 1)
        self.pools: dict[str, CountedSlots] = {}
        for name, spec in bundle.manifest.streams.items():
            if not isinstance(spec, TextSpec):
                [(_, example)] = kind_of(spec).example(spec, self.steps[name].lengths[-1]).items()
                self.pools[name] = CountedSlots(example.shape, example.dtype, slots)
        self.in_slots = self.copied = 0
        #: Raise this with the next call.
        self.failure: Exception | None = None

    def slots(self, stream: str) -> CountedSlots | None:
        return self.pools.get(stream)

    def execute(self, works):
        numbers = []
        for work in works:
            for name, items in work.items.items():
                for item in items:
                    if item.slot != NO_SLOT:
                        [values] = item.feeds.values()
                        assert self.pools[name].holds(item.slot, values)
                        numbers.append((name, item.slot))
                        self.in_slots += 1
                    self.copied += item.slot == NO_SLOT and name in self.pools
        assert len(set(numbers)) == len(numbers)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return self._executor.execute(works)

    def __getattr__(self, name: str):
        return getattr(self._executor, name)

    @property
    def all_free(self) -> bool:
        return all(pool.free == pool.count for pool in self.pools.values())


@pytest.fixture
def slotted(monkeypatch: pytest.MonkeyPatch):
    """Let fleets on the CPU have so many slots a stream; None for the executor as it is."""

    def choose(count: int | None) -> None:
        def opening(bundle, layout, device, threads):
            if count is None:
                return open_executor(bundle, layout, device, 1)
            return SlottedExecutor(bundle, layout, count)

        monkeypatch.setattr(fleets, "open_executor", opening)

    return choose


@pytest.fixture(scope="module")
def hops(tiny: Bundle, demo_video: Path) -> Iterator[list[Hop]]:
    with remembered_faces():
        yield first_hops(demo_video, 8, tiny.manifest.streams)


@pytest.fixture(scope="module")
def sources(demo_vtt: Path) -> list[Source]:
    words = tuple(read_transcript(demo_vtt, None))
    return [Source("whole", words), Source("blind for a while", words, (Drop("vision", 1.0, 2.5),))]


def told(predictions) -> list:
    """All of some predictions but their times."""
    return [(p.outputs, p.presence, p.age_ms, p.reason, p.status) for p in predictions]


@pytest.mark.parametrize("count", [64, 3])
def test_predictions_are_the_same_and_every_slot_comes_back(tiny: Bundle, slotted, hops, sources, count: int):
    """With slots for all inputs, and with so few that some inputs are arrays of their own."""
    found = []
    for slots in (None, count):
        slotted(slots)
        with Fleet(tiny, sources) as fleet:
            found.append([told(fleet.predict({i: fleet.prepare(i, hop) for i in range(2)})) for hop in hops])
            executor = fleet.executor
            if slots:
                assert executor.all_free
    assert found[0] == found[1]
    assert executor.in_slots > 0
    assert (executor.copied > 0) == (count == 3)


def test_a_slot_is_not_given_out_before_the_call_that_reads_it_is_done(tiny: Bundle, slotted, hops, sources):
    """Each source prepares hops in a thread of its own while others are run, as live runs do."""
    slotted(None)
    with Fleet(tiny, sources) as fleet:
        expected = [told(fleet.predict({i: fleet.prepare(i, hop) for i in range(2)})) for hop in hops]
    slotted(12)
    found = []
    with Fleet(tiny, sources) as fleet, ThreadPoolExecutor(2) as threads:
        ahead = [threads.submit(fleet.prepare, i, hops[0]) for i in range(2)]
        for following in [*hops[1:], None]:
            prepared = {i: one.result() for i, one in enumerate(ahead)}
            ahead = [] if following is None else [threads.submit(fleet.prepare, i, following) for i in range(2)]
            found.append(told(fleet.predict(prepared)))
            del prepared
        assert fleet.executor.in_slots > 20
        assert fleet.executor.all_free
    assert found == expected


def test_hops_that_never_run_give_their_slots_back(tiny: Bundle, slotted, hops, sources):
    slotted(64)
    with Fleet(tiny, sources) as fleet:
        executor = fleet.executor
        lost = [fleet.prepare(0, hop) for hop in hops[:4]]
        assert not executor.all_free
        fleet.reset(0, sources[0])
        del lost
        assert executor.all_free
        gone = Hop(hops[0].end_s, dict(hops[0].pieces), losses={"vision": "unplugged", "audio": "unplugged"})
        fleet.predict({0: fleet.prepare(0, gone)})
        assert executor.all_free
        fleet.encode(0, fleet.prepare(0, hops[1], lazily=True))
        assert executor.all_free


def test_an_exception_on_the_way_gives_slots_back(tiny: Bundle, slotted, hops, sources):
    slotted(64)
    with Fleet(tiny, sources) as fleet:
        fleet.executor.failure = KeyError("a defect")
        with pytest.raises(KeyError, match="a defect"):
            fleet.predict({0: fleet.prepare(0, hops[0])})
        gc.collect()  # a traceback and its frames refer to each other
        assert fleet.executor.all_free


def test_what_lies_in_slots_is_read_by_the_cpu_when_the_device_is_lost(
    tiny: Bundle, slotted, hops, sources, monkeypatch
):
    """The hop on which the device is lost is the first one of the executor that takes over."""

    def fail_over(bundle, layout, capacity, error, threads):
        return Failover(open_executor(bundle, layout, "cpu", 1), str(error))

    monkeypatch.setattr(fleets, "fail_over_to_cpu", fail_over)
    found = []
    for count in (0, 64):
        slotted(count)
        with Fleet(tiny, sources[:1]) as fleet:
            lost = fleet.executor
            for index, hop in enumerate(hops):
                lost.failure = DeviceLostError("gone") if index == 4 else None
                found.append(told(fleet.predict({0: fleet.prepare(0, hop)})))
            assert fleet.lost == "gone"
            assert (lost.in_slots > 0) == (count > 0)
            gc.collect()  # the stand-in's error refers to the frame that raised it, which refers to the error
            assert lost.all_free
    assert found[: len(hops)] == found[len(hops) :]


def test_the_pools_of_a_gpu_give_what_copied_inputs_give(engines: Bundle, hops, sources, monkeypatch):
    """On the stand-in for a GPU: the next hop is prepared while one runs, and every slot comes back."""
    found = []
    for pooled in (True, False):
        if not pooled:
            monkeypatch.setattr(TrtExecutor, "slots", lambda executor, stream: None)
        with Fleet(engines, sources) as fleet, ThreadPoolExecutor(2) as threads:
            pools = [fleet.executor.slots(name) for name in engines.manifest.streams]
            sizes = [None if pool is None else len(pool) for pool in pools]
            ahead = [threads.submit(fleet.prepare, i, hops[0]) for i in range(2)]
            for following in [*hops[1:], Hop(hops[-1].end_s + 0.5)]:
                prepared = {i: one.result() for i, one in enumerate(ahead)}
                ahead = [threads.submit(fleet.prepare, i, following) for i in range(2)]
                found.append(told(fleet.predict(prepared)))
            del ahead, prepared
            assert sizes == [None if pool is None else len(pool) for pool in pools]
            assert any(sizes) == pooled
    assert found[: len(hops)] == found[len(hops) :]


@pytest.mark.parametrize("name", [n for n, s in streams_of_every_kind().items() if not isinstance(s, TextSpec)])
def test_every_kind_of_stream_uses_slots(name: str):
    """Its items name the slot that each of their feeds lies in."""
    from taemi_edge.media.hops import Frame, SoundPiece, Values
    from taemi_edge.runtime.rings import StepCounts

    spec = streams_of_every_kind()[name]
    lengths = kind_of(spec).input_lengths(spec)
    [(_, example)] = kind_of(spec).example(spec, sum(lengths)).items()
    pool, times_s = CountedSlots(example.shape, example.dtype), np.arange(60) / 30
    pieces = {
        "uint8": [Frame(float(t), np.full((12, 16, 3), 9, np.uint8)) for t in times_s],
        "float32": [SoundPiece(0.0, np.ones(200, np.float32))],
    }[example.dtype.name]
    if hasattr(spec, "channels"):
        pieces = [Values(times_s, np.ones((60, spec.channels), np.float32))]
    presence, steps = StreamPresence(spec.presence, "nothing"), StepCounts(*lengths, lambda _: 1)
    state = kind_of(spec).open_stream(Opening(spec, presence, 64, steps, name=name, slots=pool))
    prepared = state.prepare(pieces, 2.0, Stopwatch(), lazily=False)
    items = [item for batch in state.batches(prepared, lost=False) for item in state.place(batch)]
    assert items
    for item in items:
        [values] = item.feeds.values()
        assert pool.holds(item.slot, values)
    assert pool.refused == 0
    del prepared, items, item, values
    assert pool.free == pool.count
