"""Works divided into calls that fit the engines."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.tensorrt.calls import split_into_calls, usual_frame_counts
from taemi_edge.runtime.work import Layout, SoundChunk, Work

MOST = {"vision": 4, "audio": 2, "text": 2}
FRAME, ROW = np.zeros((2, 2, 3), np.uint8), np.zeros(1, np.int32)


def sound(samples: int) -> SoundChunk:
    return SoundChunk(np.zeros(samples, np.float32), ROW)


def test_an_ordinary_hop_is_one_call():
    works = [Work(i, [FRAME], ROW, [sound(8)], ROW) for i in range(2)]
    [call] = split_into_calls(works, MOST)
    assert [source for source, *_ in call.frames] == [0, 1]
    assert (len(call.sounds), len(call.texts), call.windows) == (2, 2, works)


def test_what_does_not_fit_goes_in_pieces_and_the_last_fuses():
    work = Work(0, [FRAME] * 5, np.arange(5), [sound(8), sound(8), sound(12)])
    first, last = split_into_calls([work], MOST)
    assert (len(first.frames), len(last.frames)) == (4, 1)
    assert [len(s.samples) for _, s in first.sounds] == [8, 8]
    assert [len(s.samples) for _, s in last.sounds] == [12]
    assert (first.windows, last.windows) == ((), [work])


def test_a_rate_that_is_no_multiple_of_the_hops_gives_two_counts(tiny: Bundle):
    assert tiny.manifest.vision.frames_per_second == 5
    assert usual_frame_counts(tiny.manifest, Layout(1, 4.0, 0.5), 48) == [2, 3]
    assert usual_frame_counts(tiny.manifest, Layout(1, 4.0, 1.0), 48) == [6]
