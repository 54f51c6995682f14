"""Why the messages of a sensor cannot be used: for as long as they cannot, and no longer."""

from __future__ import annotations

from taemi_edge.live.capture.message_faults import MessageFaults


def test_a_fault_is_told_until_a_good_message_comes_or_nothing_does():
    faults, unusable = MessageFaults(lost_after_s=1.0), {}
    faults.tell(0.0, unusable, "series")
    assert unusable == {}
    faults.bad("too short", 1.0)
    for now_s in (1.0, 60.0):  # nothing usable came yet: it stays the reason
        faults.tell(now_s, unusable, "series")
        assert unusable == {"series": "too short"}
    faults.good()
    faults.tell(61.0, unusable, "series")
    assert unusable == {}
    faults.bad("too long", 62.0)
    assert faults.reason(63.0) == "too long"
    assert faults.reason(63.1) is None, "nothing comes any more: silence is the reason"


def test_one_bad_message_long_ago_says_nothing_about_a_slow_sensor():
    faults = MessageFaults(lost_after_s=1.0)
    faults.good()
    faults.bad("NaN", 5.0)
    faults.good()
    assert faults.reason(14.9) is None
