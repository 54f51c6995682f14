"""Time is paid for by one part at a time, and functions come back as they were."""

from __future__ import annotations

import pytest

from taemi_edge.bench.host import split as splitting
from taemi_edge.bench.host.split import OTHER, Ledger, split, timed
from taemi_edge.runtime.tensorrt import calls


class Clock:
    """Moves when it is told to."""

    now_ns = 0

    def wait(self, ns: int) -> None:
        self.now_ns += ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(splitting, "perf_counter_ns", lambda: clock.now_ns)
    return clock


def test_what_a_part_calls_of_another_part_counts_there(clock: Clock):
    ledger = Ledger()
    inner = timed(ledger, "inner", lambda: clock.wait(40))

    def outer() -> None:
        inner()
        clock.wait(2)

    timed(ledger, "outer", outer)()
    clock.wait(100)
    assert ledger.spent_ns == {"inner": 40, "outer": 2}


def test_the_steps_of_a_generator_count_and_not_what_its_reader_does(clock: Clock):
    ledger = Ledger()

    def steps():
        for number in range(3):
            clock.wait(1)
            yield number

    taken = []
    for number in timed(ledger, "steps", steps)():
        clock.wait(50)
        taken.append(number)
    assert taken == [0, 1, 2]
    assert ledger.spent_ns == {"steps": 3}


def test_an_error_ends_the_part_that_failed(clock: Clock):
    ledger = Ledger()

    def fail() -> None:
        clock.wait(3)
        raise KeyError

    with pytest.raises(KeyError):
        timed(ledger, "failing", fail)()
    clock.wait(50)
    assert ledger.spent_ns == {"failing": 3}


def test_functions_that_a_version_lacks_are_left_out_and_the_others_come_back():
    class Executor:
        def execute(self) -> int:
            return calls.padded(5, 48)

    executor, padded = Executor(), calls.padded
    with split(executor, {"padding": ("calls:padded", "calls:Gone.away", "gone:away")}) as ledger:
        assert executor.execute() == 6
    assert set(ledger.spent_ns) == {"padding", OTHER}
    assert calls.padded is padded
    assert "execute" not in vars(executor)
