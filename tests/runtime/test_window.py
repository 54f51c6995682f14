"""The window of one source: what a hop needs from the executor, and what is left after a loss."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.kinds import count_steps, ring_capacity
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.window import Source, SourceWindow, open_tools
from tests.media import first_hops


@pytest.fixture
def new_window(tiny: Bundle):
    """Windows on an audio encoder that gives ten steps a second."""

    def make(source: Source) -> SourceWindow:
        steps = count_steps(tiny.manifest, lambda stream, samples: samples // 1_600)
        executor = SimpleNamespace(steps=steps, capacity=ring_capacity(tiny.manifest, 4.0, steps), slots=lambda _: None)
        [tools] = open_tools(tiny, 1)
        return SourceWindow(tiny.manifest, source, 0, 4.0, executor, tools)

    return make


def test_an_ordinary_hop_is_one_piece_of_work(tiny: Bundle, new_window, demo_video, demo_vtt):
    window = new_window(Source(words=read_transcript(demo_vtt, None)))
    for hop in first_hops(demo_video, 3, tiny.manifest.streams):
        [work] = window.works(window.prepare(hop))
        assert work.fuse
        assert len(work.items["audio"]) == 1
        assert len(work.items["vision"]) in (2, 3)
    assert set(work.window) == {"vision", "audio", "text"}
    assert work.window["vision"].count == 8


def test_a_long_hop_is_several_pieces_of_work_of_which_the_last_fuses(tiny: Bundle, new_window, demo_video):
    hops = first_hops(demo_video, 20, tiny.manifest.streams)
    together = Hop(hops[-1].end_s, {m: [p for h in hops for p in h.pieces[m]] for m in ("vision", "audio")})
    window = new_window(Source())
    works = list(window.works(window.prepare(together)))
    assert [work.fuse for work in works] == [False] * (len(works) - 1) + [True]
    assert sum(len(work.items.get("vision", ())) for work in works) == sum(len(hop.frames) for hop in hops)
    assert sum(len(work.items.get("audio", ())) for work in works) == 20
    assert max(len(items) for work in works for items in work.items.values()) == 16


def test_a_rehearsed_loss_takes_the_stream_out_of_the_window(tiny: Bundle, new_window, demo_video):
    window = new_window(Source(drops=[Drop("vision", 0.0, 9.0)]))
    [work] = window.works(window.prepare(first_hops(demo_video, 1, tiny.manifest.streams)[0]))
    assert set(work.window) == {"audio"}
    assert not work.items.get("vision")
    assert window.faces == {}


def test_a_repeated_hop_keeps_only_what_it_brought(tiny: Bundle, new_window, demo_video, demo_vtt):
    window = new_window(Source(words=read_transcript(demo_vtt, None)))
    for hop in first_hops(demo_video, 4, tiny.manifest.streams):
        [work] = window.works(window.prepare(hop))
    again = window.repeat(work, hop.end_s)
    items = work.items["vision"]
    assert again.window["vision"] == Span(items[0].rows.start, len(items))
    assert len(again.items["text"][0].feeds["ids"]) == again.window["text"].count > 3


def test_refused_features_leave_the_window_and_nothing_after_them_is_lost(tiny: Bundle, new_window, demo_video):
    window = new_window(Source())
    for hop in first_hops(demo_video, 2, tiny.manifest.streams):
        [work] = window.works(window.prepare(hop))
    left = window.refuse({"audio"}, hop.end_s)
    assert set(left.window) == {"vision"}
    assert not window.rows("audio", hop.end_s).count
    assert left.window["vision"] == work.window["vision"]
