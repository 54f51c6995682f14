"""Which threads a bundle gets: those of its plan, those that were asked for, and never more than there are cores."""

from __future__ import annotations

import dataclasses
import logging

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.records import EngineRecord, HostPlan
from taemi_edge.errors import UsageError
from taemi_edge.runtime import host_way
from taemi_edge.runtime.host_way import HostWay, way_of

PARTS = ("vision", "audio", "text", "fusion")
RECORD = EngineRecord(
    target="cpu",
    backend="onnxruntime-cpu",
    library="onnxruntime",
    machine={},
    source="",
    asked="auto",
    recipe={},
    flags={},
    build_key="",
    part_keys={},
    candidates=(),
)


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_way, "usable_cores", lambda: 4)
    host_way._note.cache_clear()


def with_plan(bundle: Bundle, plan: HostPlan | None) -> Bundle:
    record = RECORD if plan is None else msgspec.structs.replace(RECORD, host=plan)
    return dataclasses.replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, engine=record))


def plan(cores: int = 4, **changes) -> HostPlan:
    return HostPlan(**{"threads": dict.fromkeys(PARTS, 1), "side_by_side": True, "cores": cores, **changes})


@pytest.mark.parametrize(("threads", "expected"), [(None, 4), (0, 4), (1, 1), (3, 3)])
def test_without_a_plan_all_cores_or_what_was_asked_for(tiny: Bundle, threads, expected):
    for bundle in (tiny, with_plan(tiny, None)):
        assert way_of(bundle, "cpu", threads) == HostWay(dict.fromkeys(PARTS, expected))


def test_the_plan_is_taken(tiny: Bundle):
    threads = {"vision": 1, "audio": 1, "text": 1, "fusion": 4}
    bundle = with_plan(tiny, plan(threads=threads, largest={"vision": 4}))
    assert way_of(bundle, "cpu", None) == HostWay(threads, lanes=4, largest={"vision": 4})


def test_lanes_leave_each_other_their_threads(tiny: Bundle):
    bundle = with_plan(tiny, plan(threads=dict.fromkeys(PARTS, 2), pinned=True))
    assert way_of(bundle, "cpu", None) == HostWay(dict.fromkeys(PARTS, 2), lanes=2, pinned=True)


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (0, 4)])
def test_a_number_wins_over_the_plan(tiny: Bundle, threads, expected):
    bundle = with_plan(tiny, plan(largest={"audio": 8}))
    assert way_of(bundle, "cpu", threads) == HostWay(dict.fromkeys(PARTS, expected), largest={"audio": 8})


def test_more_threads_than_cores_are_capped_with_a_note(tiny: Bundle, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert way_of(tiny, "cpu", 64) == way_of(tiny, "cpu", 64) == HostWay(dict.fromkeys(PARTS, 4))
    [note] = caplog.records
    assert note.getMessage() == "64 threads are wanted, and this process may use 4 cores: it takes 4"


def test_engines_that_moved_to_a_smaller_device_take_what_is_there(
    tiny: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(host_way, "usable_cores", lambda: 1)
    bundle = with_plan(tiny, plan(cores=16, threads={**dict.fromkeys(PARTS, 2), "fusion": 16}, pinned=True))
    with caplog.at_level(logging.WARNING):
        assert way_of(bundle, "cpu", None) == HostWay(dict.fromkeys(PARTS, 1))
    [note] = caplog.records
    assert "built where a process may use 16 cores, here it may use 1: `taemi-edge build-engine`" in note.getMessage()


def test_a_plan_of_more_threads_than_its_own_cores_is_told_in_numbers_that_differ(
    tiny: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(host_way, "usable_cores", lambda: 2)
    with caplog.at_level(logging.WARNING):
        way_of(with_plan(tiny, plan(cores=2, threads=dict.fromkeys(PARTS, 64))), "cpu", None)
    [note] = caplog.records
    assert "built where a process may use 64 cores, here it may use 2" in note.getMessage()


def test_through_cuda_nothing_runs_side_by_side(tiny: Bundle):
    assert way_of(with_plan(tiny, plan(largest={"vision": 4})), "cuda", None) == HostWay(dict.fromkeys(PARTS, 4))


def test_a_plan_of_other_parts_runs_with_one_thread(tiny: Bundle):
    assert way_of(with_plan(tiny, plan(threads={"lidar": 2})), "cpu", None).threads == dict.fromkeys(PARTS, 1)


@pytest.mark.parametrize("threads", [-1, 1025, 2.5, "2"])
def test_what_is_no_number_of_threads_is_refused(tiny: Bundle, threads):
    for bundle in (tiny, with_plan(tiny, plan())):
        with pytest.raises(UsageError, match="expected a number of threads from 0 to 1024, got "):
            way_of(bundle, "cpu", threads)


@pytest.mark.parametrize("changes", [{"threads": {"audio": 0}}, {"cores": -1}, {"largest": {"audio": 5000}}])
def test_a_plan_with_senseless_numbers_is_refused(changes):
    with pytest.raises(ValueError, match="from 1 to 1024, got"):
        plan(**changes)


def test_a_record_without_a_plan_is_written_as_before():
    assert b"host" not in msgspec.json.encode(RECORD)
    again = msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(RECORD, host=plan())), type=EngineRecord)
    assert again.host == plan()
