"""Groups of several sources: complete where all are in time, without the late ones where they are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from taemi_edge.runtime.hop_groups import HopGrouper


def test_sources_of_one_speed_come_together():
    with HopGrouper([iter(range(5)), iter(range(10, 15)), iter(range(20, 23))], deadline_s=10) as grouper:
        groups = [dict(sorted(group.items())) for group in grouper]
    assert groups[:3] == [{0: n, 1: 10 + n, 2: 20 + n} for n in range(3)]
    assert groups[3:] == [{0: 3, 1: 13}, {0: 4, 1: 14}]


def test_a_late_source_does_not_hold_the_others_back():
    go = threading.Event()

    def late() -> Iterator[str]:
        yield "first"
        assert go.wait(20)
        yield "late"

    groups = []
    with HopGrouper([iter("abc"), late()], deadline_s=0.05) as grouper:
        for group in grouper:
            groups.append(dict(sorted(group.items())))
            if len(groups) == 3:
                go.set()
    assert groups == [{0: "a", 1: "first"}, {0: "b"}, {0: "c"}, {1: "late"}]


def test_a_source_that_fails_ends_alone():
    def broken() -> Iterator[str]:
        yield "x"
        raise ValueError("unplugged")

    with HopGrouper([broken(), iter("abc")], deadline_s=10) as grouper:
        groups = list(grouper)
    assert len(groups) == 3
    assert str(grouper.errors[0]) == "unplugged"


def test_leaving_early_stops_every_thread():
    def endless() -> Iterator[float]:
        while True:
            yield time.perf_counter()

    with pytest.raises(KeyboardInterrupt), HopGrouper([endless(), endless()], deadline_s=1) as grouper:
        for _ in grouper:
            raise KeyboardInterrupt
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("source-")]
