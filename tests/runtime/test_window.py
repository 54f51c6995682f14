"""The window of one source: what a hop needs from the executor, and what is left after a loss."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.crops import FaceDetector
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.rings import StepCounts, ring_capacity
from taemi_edge.runtime.window import Source, SourceWindow
from tests.media import first_hops


@pytest.fixture
def new_window(tiny: Bundle):
    """Windows on an audio encoder that gives ten steps a second."""

    def make(source: Source) -> SourceWindow:
        steps = StepCounts(tiny.manifest, lambda samples: samples // 1_600)
        executor = SimpleNamespace(steps=steps, capacity=ring_capacity(tiny.manifest, 4.0, steps))
        tokenizer = WordTokenizer(
            tiny.tokenizer_file("text").read_text(encoding="utf-8"), tiny.manifest.text.max_tokens
        )
        return SourceWindow(tiny.manifest, source, 0, 4.0, executor, tokenizer, FaceDetector())

    return make


def test_an_ordinary_hop_is_one_piece_of_work(new_window, demo_video, demo_vtt):
    window = new_window(Source(words=read_transcript(demo_vtt, None)))
    for hop in first_hops(demo_video, 3):
        [work] = window.works(window.prepare(hop))
        assert work.fuse
        assert len(work.sounds) == 1
        assert len(work.pixels) in (2, 3)
    assert set(work.window) == {"vision", "audio", "text"}
    assert len(work.window["vision"]) == 8


def test_a_long_hop_is_several_pieces_of_work_of_which_the_last_fuses(new_window, demo_video):
    hops = first_hops(demo_video, 20)
    together = Hop(hops[-1].end_s, [f for h in hops for f in h.frames], [s for h in hops for s in h.samples])
    window = new_window(Source())
    works = list(window.works(window.prepare(together)))
    assert [work.fuse for work in works] == [False] * (len(works) - 1) + [True]
    assert sum(len(work.pixels) for work in works) == sum(len(hop.frames) for hop in hops)
    assert sum(len(work.sounds) for work in works) == 20
    assert max(max(len(work.pixels), len(work.sounds)) for work in works) == 16


def test_a_rehearsed_loss_takes_the_stream_out_of_the_window(new_window, demo_video):
    window = new_window(Source(drops=[Drop("vision", 0.0, 9.0)]))
    [work] = window.works(window.prepare(first_hops(demo_video, 1)[0]))
    assert set(work.window) == {"audio"}
    assert list(work.pixels) == []
    assert window.face is None


def test_a_repeated_hop_keeps_only_what_it_brought(new_window, demo_video, demo_vtt):
    window = new_window(Source(words=read_transcript(demo_vtt, None)))
    for hop in first_hops(demo_video, 4):
        [work] = window.works(window.prepare(hop))
    again = window.repeat(work, hop.end_s)
    assert again.window["vision"].tolist() == work.pixel_rows.tolist()
    assert len(again.ids) == len(again.window["text"]) > 3


def test_refused_features_leave_the_window_and_nothing_after_them_is_lost(new_window, demo_video):
    window = new_window(Source())
    for hop in first_hops(demo_video, 2):
        [work] = window.works(window.prepare(hop))
    left = window.refuse({"audio"}, hop.end_s)
    assert set(left.window) == {"vision"}
    assert not len(window.rows("audio", hop.end_s))
    np.testing.assert_array_equal(left.window["vision"], work.window["vision"])
