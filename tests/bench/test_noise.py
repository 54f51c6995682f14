"""A busy machine is noticed, and its figures are marked as noise."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from taemi_edge.bench.noise import MOST_SPREAD, NoiseMeter, judged, spread_of


@pytest.mark.skipif(not os.path.isfile("/proc/stat"), reason="the kernel does not count its time here")
def test_other_processes_are_told_from_our_own():
    other = subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"])
    try:
        time.sleep(0.2)  # it needs a moment before it works
        meter, until_s = NoiseMeter(), time.monotonic() + 1.0
        while time.monotonic() < until_s:
            sum(range(1000))
        found = meter.report()
    finally:
        other.kill()
        other.wait()
    cores = os.cpu_count() or 1
    assert found.by_others is not None
    assert 0.3 / cores < found.by_others <= 1.0  # it has not ended, so that it counts as one of the others


def test_each_sign_alone_is_enough():
    quiet = {"by_others": 0.01, "load": 0.1, "spread": 0.03, "share": 0.97}
    assert not judged(**quiet).busy
    assert judged(**quiet).in_words == ""
    for sign, words in (
        ({"by_others": 0.5}, "other processes took 50% of its cores"),
        ({"load": 2.5}, "2.5 processes wanted each core at the start"),
        ({"spread": 0.4}, "turns of one thing lie 40% apart"),
        ({"share": 1.259}, "a part took 79% of the least time that was measured for it"),
    ):
        noise = judged(**{**quiet, **sign})
        assert noise.busy
        assert noise.reasons == (words,)
        assert noise.in_words.startswith(f"the machine was busy ({words}), so these figures are noise")


def test_what_cannot_be_told_is_no_sign():
    assert not judged(by_others=None, load=None).busy
    assert spread_of([]) is None
    assert spread_of([[1.0], [0.0, 1.0]]) is None
    assert spread_of([[1.0, 1.0 + MOST_SPREAD]]) == MOST_SPREAD
