"""Sensors whose clock is not ours: simulated time, bags at other rates, jumps, and messages that come as they like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.delivery import Delivery
from taemi_edge.live.capture.mailbox import FrameBox, RowBox
from taemi_edge.live.capture.readers import DecodedPicture, DecodedRows, DecodedWords
from taemi_edge.live.capture.row_clock import RecentRows, RowClock
from taemi_edge.live.words import WordInbox

HOP_S, RATE_HZ = 0.5, 200
PICTURE = np.zeros((4, 4, 3), np.uint8)


class HandClock(SessionClock):
    """A session's clock that the test moves."""

    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s


def rows_by_hop(arrivals: Iterable[tuple[float, float]], until_s: float, batch: int = 1) -> Iterator[np.ndarray]:
    """The times of the rows that each hop takes, 0.1 s after its end; `arrivals` are stamps and when they come."""
    clock, box = HandClock(), RowBox(1, 60.0, None)
    delivery = Delivery({"imu": box}, clock, 1.25, follows_rate=True)
    delivery.begin(("series",), 0.0)
    end_s, waiting = HOP_S, list[tuple[float, float]]()
    for stamp_s, now_s in arrivals:
        while now_s > end_s + 0.1:
            clock.time_s = end_s + 0.1
            taken, _ = box.take(end_s)
            yield np.concatenate([np.zeros(0), *(piece.times_s for piece in taken)])
            end_s += HOP_S
            if end_s > until_s:
                return
        waiting.append((stamp_s, now_s))
        if len(waiting) == batch:
            clock.time_s = now_s
            stamps_s = np.array([stamp for stamp, _ in waiting])
            delivery.take(DecodedRows(stamps_s, (stamps_s[:, None] % 1).astype(np.float32)), is_live=True)
            waiting.clear()


def played(rate: float, seconds: float, jump_s: float = 0.0, jumps_at_s: float = 1e9) -> Iterator[tuple[float, float]]:
    """An IMU of 200 Hz, played at a rate; from some time on its stamps are off."""
    for index in range(int(seconds * RATE_HZ * rate)):
        now_s = index / RATE_HZ / rate
        yield 1000 + index / RATE_HZ + (jump_s if now_s >= jumps_at_s else 0.0), now_s + 0.002


@pytest.mark.parametrize(("rate", "batch"), [(0.25, 4), (0.5, 1), (1.0, 4), (2.0, 4), (5.0, 20)])
def test_a_bag_at_another_rate_fills_every_hop(rate: float, batch: int):
    hops = list(rows_by_hop(played(rate, 12.0), 11.0, batch))
    counts = [len(times_s) for times_s in hops]
    assert min(counts) > 0
    wanted = RATE_HZ * rate * HOP_S
    assert np.mean(counts) == pytest.approx(wanted, rel=0.05)
    settled = np.concatenate(hops[10:])
    assert np.abs(np.diff(settled) - 1 / RATE_HZ / rate).max() < 0.25 / RATE_HZ / rate
    assert min(counts[10:]) > 0.9 * wanted


@pytest.mark.parametrize(("rate", "jump_s"), [(0.5, -2.0), (0.5, 3600.0), (1.0, -3600.0), (2.0, -2.0), (2.0, 2.0)])
def test_a_jump_of_the_clock_costs_no_hop(rate: float, jump_s: float):
    counts = [len(times_s) for times_s in rows_by_hop(played(rate, 14.0, jump_s, 7.0), 13.0, batch=4)]
    assert min(counts) > 0.3 * RATE_HZ * rate * HOP_S
    assert np.mean(counts) == pytest.approx(RATE_HZ * rate * HOP_S, rel=0.06)


@pytest.mark.parametrize("pause_s", [0.7, 3.0, 30.0])
def test_a_simulation_that_stood_still_is_back_within_a_second(pause_s: float):
    def arrivals() -> Iterator[tuple[float, float]]:
        for stamp_s, now_s in played(1.0, 12.0):
            yield stamp_s, now_s + (pause_s if now_s > 5 else 0.0)

    counts = [len(times_s) for times_s in rows_by_hop(arrivals(), 11 + pause_s, batch=4)]
    back = int((5 + pause_s) / HOP_S) + 3
    assert min(counts[back:]) > 0.3 * RATE_HZ * HOP_S
    assert counts[-1] == pytest.approx(RATE_HZ * HOP_S, abs=2)


def test_duplicates_and_messages_out_of_order_keep_the_rows_in_order():
    random = np.random.default_rng(0)
    sent = list(played(1.0, 10.0))
    order = np.concatenate([at + random.permutation(6) for at in range(0, len(sent) - 6, 6)])
    mixed = [(sent[index][0], sent[at][1]) for at, index in enumerate(order)]
    twice = [one for pair in zip(mixed, mixed, strict=True) for one in pair]
    hops = list(rows_by_hop(twice, 9.0))
    for times_s in hops:
        assert (np.diff(times_s) >= 0).all()
    assert np.mean([len(times_s) for times_s in hops]) == pytest.approx(RATE_HZ * HOP_S, rel=0.05)


def test_rows_of_one_stamp_with_other_numbers_are_no_duplicates():
    recent, random = RecentRows(), np.random.default_rng(0)
    times_s = np.repeat(np.arange(0, 10, 0.01), 3)
    rows = random.normal(size=(len(times_s), 6)).astype(np.float32)
    for at in range(0, len(times_s), 7):
        assert recent.are_new(times_s[at : at + 7], rows[at : at + 7]).all()
    assert not recent.are_new(times_s[-20:], rows[-20:]).any()


def test_messages_that_a_lossy_link_drops_leave_gaps_and_nothing_else():
    kept = [
        one for one, luck in zip(played(1.0, 10.0), np.random.default_rng(0).random(2000), strict=True) if luck > 0.3
    ]
    counts = [len(times_s) for times_s in rows_by_hop(kept, 9.0)]
    assert min(counts) > 0.5 * RATE_HZ * HOP_S


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0, 4.0])
def test_pictures_and_words_at_another_rate_are_not_held_back(rate: float):
    clock, frames, words = HandClock(), FrameBox(None, 60.0), WordInbox(None)
    delivery = Delivery({"eye": frames, "talk": words}, clock, 1.25, follows_rate=True)
    delivery.begin(("video", "text"), 0.0)
    ages_s = []
    for index in range(int(12 * 15 * rate)):
        clock.time_s = now_s = index / 15 / rate
        delivery.take(DecodedPicture(500 + index / 15, PICTURE), is_live=True)
        if index % 15 == 7:
            delivery.take(DecodedWords(500 + index / 15, "so", 0.3), is_live=True)
        taken, _ = frames.take(now_s)
        ages_s += [now_s - frame.time_s for frame in taken]
    assert len(ages_s) > 0.9 * 12 * 15 * rate
    assert max(ages_s) < 1.0
    assert len(words.take(clock.time_s)[0]) >= 12 * rate - 2


def test_a_camera_that_runs_behind_is_still_connected_anew():
    clock = HandClock()
    delivery = Delivery({"eye": FrameBox(None, 60.0)}, clock, 1.25)
    delivery.begin(("video",), 0.0)
    for index in range(120):
        clock.time_s = index / 15
        delivery.take(DecodedPicture(500 + index / 30, PICTURE), is_live=True)
    assert delivery.lag_s > 3


def test_rows_that_a_link_held_up_lie_where_they_were_measured():
    clock = RowClock(0.0)
    measured_s = np.arange(0, 10, 1 / RATE_HZ)
    arrived_s = np.where(abs(measured_s - 5.75) < 0.75, 6.5 + (measured_s - 5.0) * 0.01, measured_s) + 0.005
    placed_s = [
        clock.place(np.array([1000 + at]), 1, now_s)[0] for at, now_s in zip(measured_s, arrived_s, strict=True)
    ]
    np.testing.assert_allclose(placed_s, measured_s + 0.005, atol=0.005)


def test_a_link_that_stays_slower_than_it_was_makes_rows_late_for_half_a_second_alone():
    clock = RowClock(0.0)
    measured_s = np.arange(0, 10, 1 / RATE_HZ)
    arrived_s = measured_s + np.where(measured_s < 5, 0.005, 1.505)
    placed_s = np.array(
        [clock.place(np.array([1000 + at]), 1, now_s)[0] for at, now_s in zip(measured_s, arrived_s, strict=True)]
    )
    late_s = arrived_s - placed_s
    assert late_s[measured_s < 5].max() < 0.01
    assert late_s[measured_s > 5.6].max() < 0.01
