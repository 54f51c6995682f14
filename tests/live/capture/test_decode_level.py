"""A machine that is too slow decodes less."""

from __future__ import annotations

from taemi_edge.live.capture.decode_level import DecodeLevelControl


def judged(relief: DecodeLevelControl, seconds: int, busy: float, lag_s: float, start_s: float = 0.0) -> float:
    """A reader goes on so for a while; when that ends."""
    for second in range(seconds):
        relief.judge(busy, lag_s, start_s + second)
    return start_s + seconds


def test_a_machine_that_was_busy_for_a_while_decodes_all_again():
    relief = DecodeLevelControl()
    end_s = judged(relief, 5, busy=1.0, lag_s=1.0)
    assert relief.level == 2
    end_s = judged(relief, 30, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 2
    end_s = judged(relief, 2, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 0
    end_s = judged(relief, 5, busy=1.0, lag_s=1.0, start_s=end_s)  # that was too much: twice the patience
    end_s = judged(relief, 58, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 2
    judged(relief, 4, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 0


def test_who_waits_for_data_or_catches_up_is_not_relieved():
    relief = DecodeLevelControl()
    judged(relief, 60, busy=0.5, lag_s=3.0)
    assert relief.level == 0
    levels = [relief.judge(1.0, lag_s, 100.0 + lag_s) for lag_s in (2.8, 2.4, 1.5, 0.9, 0.5, 0.2)]
    assert set(levels[1:]) == {0}
