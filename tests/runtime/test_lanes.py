"""Tasks side by side: their order, their errors, Ctrl-C, and what is left of their threads."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from taemi_edge.runtime import lanes as lanes_module
from taemi_edge.runtime.lanes import Lanes


def lanes_alive() -> int:
    return sum(thread.name.startswith("lane") for thread in threading.enumerate())


@pytest.fixture(params=[1, 2, 3])
def lanes(request: pytest.FixtureRequest):
    opened = Lanes(request.param)
    yield opened
    opened.close()
    assert not lanes_alive()


def test_results_come_in_the_order_of_the_tasks(lanes: Lanes):
    def slow_square(number: int) -> int:
        time.sleep(0.002 * (5 - number))
        return number**2

    tasks = [lambda number=number: slow_square(number) for number in range(5)]
    assert lanes.run(tasks) == [0, 1, 4, 9, 16]
    assert lanes.run(tasks, costs=[1, 5, 2, 4, 3]) == [0, 1, 4, 9, 16]
    assert lanes.run([]) == []


def test_two_tasks_run_at_the_same_time():
    lanes, meeting = Lanes(2), threading.Barrier(2, timeout=10)
    lanes.run([meeting.wait, meeting.wait])  # one after the other they would wait for each other
    lanes.close()


def test_the_longest_begin_first():
    lanes, begun = Lanes(2), []
    tasks = [lambda at=at: begun.append(at) for at in range(3)]
    lanes.run(tasks, costs=[1.0, 3.0, float("inf")])
    lanes.close()
    assert sorted(begun) == [0, 1, 2]
    assert begun[-1] == 0


def test_the_first_error_in_order_is_raised_when_nothing_runs_any_more(lanes: Lanes):
    running: list[int] = []

    def fail(name: str) -> None:
        raise ValueError(name)

    def work() -> None:
        running.append(1)
        time.sleep(0.02)
        running.pop()

    with pytest.raises(ValueError, match="first"):
        lanes.run([lambda: fail("first"), work, lambda: fail("third")])
    assert not running
    assert lanes.run([lambda: 1, lambda: 2]) == [1, 2]  # and it goes on


def test_ctrl_c_waits_for_what_runs_and_begins_nothing():
    lanes, done, going = Lanes(2), [], threading.Event()

    def work() -> None:
        going.set()
        time.sleep(0.05)
        done.append("other")

    def interrupted() -> None:
        going.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lanes.run([interrupted, work, lambda: done.append("never")], costs=[3, 2, 1])
    lanes.close()
    assert done == ["other"]
    assert not lanes_alive()


@pytest.mark.parametrize("pinned", [False, True])
def test_ctrl_c_while_it_waits_lets_no_task_run_on(pinned):
    """The signal comes while the calling thread has nothing to do but to wait for the others."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread alone")
    lanes, done, going = Lanes(2, pinned=pinned), [], threading.Event()

    def interrupt() -> None:
        going.wait(10)
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        done.append("other")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            # costs: the calling thread, where it takes tasks, has the short one
            lanes.run([interrupt, going.set], costs=[2, 1])
        assert done == ["other"]
    finally:
        signal.signal(signal.SIGINT, before)
        lanes.close()


def test_a_core_that_was_taken_away_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity masks")
    monkeypatch.setattr(lanes_module, "one_of_each_core", lambda: [100_000, 100_001])
    lanes = Lanes(2, pinned=True)
    assert lanes.run([lambda: 1, lambda: 2]) == [1, 2]
    lanes.close()


def test_pinned_lanes_leave_the_calling_thread_alone():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no affinity masks")
    before = os.sched_getaffinity(0)
    lanes = Lanes(2, pinned=True)
    seen = lanes.run([lambda: (threading.current_thread(), os.sched_getaffinity(0))] * 2)
    lanes.close()
    assert os.sched_getaffinity(0) == before
    assert all(thread is not threading.current_thread() for thread, _ in seen)
    assert all(len(mask) == 1 or len(before) == 1 or mask == before for _, mask in seen)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_runs_tasks_itself():
    lanes = Lanes(2)
    lanes.run([lambda: None, lambda: None])
    child = os.fork()
    if child == 0:  # the threads of the parent are not here
        try:
            right = lanes.run([lambda: 1, lambda: 2]) == [1, 2]
            lanes.close()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    lanes.close()
