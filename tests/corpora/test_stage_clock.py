"""CPU seconds by stage: each second counts once, for the innermost stage."""

from __future__ import annotations

import time

import pytest

from taemi_edge.corpora.stage_clock import OTHER, START, StageClock, add_stages, encoding


def spend(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_stage_inside_another_has_its_time_alone():
    clock = StageClock()
    began = time.process_time()
    with clock.stage("decode"):
        spend(0.02)
        with clock.stage("faces"):
            spend(0.03)
        spend(0.01)
    spent = clock.take()
    assert spent["decode"] >= 0.03
    assert spent["faces"] >= 0.03
    assert sum(spent.values()) == pytest.approx(time.process_time() - began, abs=0.005)


def test_what_was_taken_is_not_counted_again():
    clock = StageClock()
    with clock.stage("decode"):
        spend(0.01)
    assert clock.take()["decode"] >= 0.01
    assert "decode" not in clock.take()


def test_an_error_ends_its_stage():
    clock = StageClock()
    with pytest.raises(ValueError, match="no"), clock.stage("decode"):
        raise ValueError("no")
    clock.take()
    spend(0.01)
    assert clock.take()[OTHER] >= 0.01


def test_what_a_process_spent_before_the_clock_was_made_is_its_start():
    spend(0.01)
    assert StageClock(since_s=0.0).take()[START] >= 0.01


def test_waiting_is_no_work():
    clock = StageClock()
    with clock.stage("decode"):
        time.sleep(0.05)
    assert clock.take()["decode"] < 0.05


def test_the_stages_of_clips_add_up():
    total = {"decode": 1.0}
    add_stages(total, {"decode": 0.5, encoding("imu"): 0.25})
    assert total == {"decode": 1.5, "encode imu": 0.25}
