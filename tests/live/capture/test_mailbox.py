"""The hand-over from a capture's thread to the loop."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.media.hops import Samples
from tests.live.frames import frame, sound


def test_a_mailbox_nobody_empties_keeps_the_newest_and_counts_the_rest():
    mailbox = Mailbox(16_000, 5.0, keep_s=1.0)
    for index in range(1000):
        mailbox.put_frame(frame(index * 0.04))
        mailbox.put_sound(sound(index * 0.1, 0.1))
    arrivals = mailbox.take(200.0)
    assert len(arrivals.frames) <= 6
    assert arrivals.frames[-1].time_s == pytest.approx(39.8, abs=0.21)
    assert len(arrivals.samples) <= 11
    assert mailbox.dropped_frames == 200 - len(arrivals.frames)
    assert mailbox.dropped_sounds == 1000 - len(arrivals.samples)
    assert mailbox.newest is not None
    assert mailbox.newest.time_s == pytest.approx(39.96)


def test_a_mailbox_cuts_sound_at_the_hop():
    mailbox = Mailbox(16_000, None, keep_s=5.0)
    mailbox.put_sound(Samples(0.9, np.arange(3200, dtype=np.float32)))
    assert [len(piece.values) for piece in mailbox.take(1.0).samples] == [1600]
    [rest] = mailbox.take(2.0).samples
    assert rest.time_s == pytest.approx(1.0)
    assert rest.values[0] == 1600
