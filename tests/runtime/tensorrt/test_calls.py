"""Works divided into calls that fit the engines."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase, split_into_calls, usual_batches
from taemi_edge.runtime.work import Item, Layout, Work

MOST = {"front": 4, "mic": 2, "words": 2}
ROW = Span(0, 1)
FRAME = Item({"pixels": np.zeros((2, 2, 3), np.uint8)}, ROW)
WORDS = Item({"ids": np.zeros(1, np.int32)}, ROW)


def sound(samples: int) -> Item:
    return Item({"samples": np.zeros(samples, np.float32)}, ROW)


def length(item: Item) -> int:
    return len(item.feeds["samples"])


def calls_of(works: list[Work], together: bool = True):
    def groups(wanted):
        return [wanted] * bool(wanted) if together else [[work] for work in wanted]

    return list(split_into_calls(works, MOST, {"mic": length}, groups))


def test_an_ordinary_hop_is_one_call():
    works = [Work(i, {"front": [FRAME], "mic": [sound(8)], "words": [WORDS]}) for i in range(2)]
    [call] = calls_of(works)
    assert {name: [source for source, _ in found] for name, found in call.inputs.items()} == {
        name: [0, 1] for name in MOST
    }
    assert call.windows == works


def test_what_does_not_fit_goes_in_pieces_and_the_last_fuses():
    work = Work(0, {"front": [FRAME] * 5, "mic": [sound(12), sound(8), sound(8)]})
    first, last = calls_of([work])
    assert [len(call.inputs["front"]) for call in (first, last)] == [4, 1]
    assert [[length(item) for _, item in call.inputs["mic"]] for call in (first, last)] == [[8, 8], [12]]
    assert (first.windows, last.windows) == ((), [work])


def test_windows_that_share_no_call_come_after_all_that_is_encoded():
    works = [Work(i, {"front": [FRAME] * 3}) for i in range(2)]
    calls = calls_of(works, together=False)
    assert [len(call.inputs.get("front", ())) for call in calls] == [4, 2, 0]
    assert [list(call.windows) for call in calls] == [[], works[:1], works[1:]]


def test_works_without_anything_new_still_fuse_and_nothing_asks_for_no_call():
    work = Work(0)
    assert [call.windows for call in calls_of([work])] == [[work]]
    assert calls_of([Work(0, fuse=False)]) == []


def test_a_rate_that_is_no_multiple_of_the_hops_gives_two_counts(tiny: Bundle):
    vision = tiny.manifest.streams["vision"]
    assert usual_batches(vision, Layout(1, 4.0, 0.5), 48) == [2, 3]
    assert usual_batches(vision, Layout(1, 4.0, 1.0), 48) == [6]


@pytest.mark.parametrize(("rate_hz", "chunk_s", "counts"), [(20.0, 0.5, [4]), (0.0, 0.0, [2])])
def test_a_series_brings_its_chunks_or_a_row(rate_hz: float, chunk_s: float, counts: list[int]):
    presence = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
    spec = SeriesSpec(feature_dim=2, presence=presence, channels=3, rate_hz=rate_hz, chunk_s=chunk_s)
    assert usual_batches(spec, Layout(2, 4.0, 1.0), 16) == counts


def test_a_case_knows_the_shapes_that_it_uses():
    encoder, head = EncoderCase("mic", 2, 8), HeadCase(1, (4,), frozenset({"mic"}))
    case = GraphCase((encoder,), head)
    assert case.uses(encoder)
    assert case.uses(head)
    assert not case.uses(EncoderCase("mic", 2, 12))
