"""Works divided into calls that fit the engines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, VideoSpec
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.calls import (
    EncoderCase,
    GraphCase,
    HeadCase,
    batch_sizes,
    padded,
    padded_tokens,
    split_into_calls,
    usual_batches,
    usual_counts,
)
from taemi_edge.runtime.tensorrt.graphs import MAX_GRAPHS
from taemi_edge.runtime.work import Item, Layout, Work

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
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
    spec = SeriesSpec(feature_dim=2, presence=PRESENCE, channels=3, rate_hz=rate_hz, chunk_s=chunk_s)
    assert usual_batches(spec, Layout(2, 4.0, 1.0), 16) == counts


def video(frames_per_second: float) -> VideoSpec:
    return VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=frames_per_second)


def test_a_chunk_that_is_longer_than_a_hop_does_not_come_with_each():
    spec = AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=100, chunk_s=1.0, context_s=1.0)
    assert usual_batches(spec, Layout(1, 4.0, 0.5), 16) == [0, 1]
    assert usual_batches(spec, Layout(16, 4.0, 0.5), 32) == [0, 8, 16]


@pytest.mark.parametrize(
    ("hop_s", "sources", "counts"),
    [(0.5, 3, (0, 2, 3)), (0.25, 3, (0, 1, 3)), (0.75, 3, (3, 3, 3)), (1.0, 3, (3, 4, 6))],
)
def test_rounding_adds_no_input_to_an_ordinary_hop(hop_s: float, sources: int, counts: tuple[int, int, int]):
    """Two thirds of a chunk for each of three sources are two chunks."""
    spec = AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=100, chunk_s=0.75)
    assert usual_counts(spec, Layout(sources, 4.0, hop_s)) == counts


@pytest.mark.parametrize("sources", range(1, 17))
def test_the_ordinary_hops_of_any_number_of_sources_have_fewer_cases_than_graphs_are_kept(tiny: Bundle, sources: int):
    """TAEMI's streams: up to three frames and a chunk of each source, and new texts of 1 to 64 tokens of any of them.

    Sixteen sources had 3,564 cases when every batch was padded as one of a single source is.
    """
    layout, streams = Layout(sources, 4.0, 0.5), tiny.manifest.streams
    most = {"vision": max(16, 4 * sources), "audio": max(16, 2 * sources), "text": max(4, sources)}
    brings = {"vision": 3 * sources, "audio": sources, "text": sources}
    sizes = {name: batch_sizes(spec, layout, most[name]) for name, spec in streams.items()}
    batches = {name: {padded(count, most[name], sizes[name]) for count in range(brings[name] + 1)} for name in streams}
    tokens = {padded_tokens(count, 64, sources) for count in range(1, 65)}
    texts = 1 + len(batches["text"] - {0}) * len(tokens)
    assert len(batches["vision"]) * len(batches["audio"]) * texts <= MAX_GRAPHS


@pytest.mark.parametrize("sources", range(2, 17))
@pytest.mark.parametrize("frames_per_second", [1.0, 5.0, 8.0, 10.0, 25.0])
def test_padding_costs_an_ordinary_hop_less_than_a_fifth_on_average(sources: int, frames_per_second: float):
    """Each source brings one number of frames or the other, as its own clock says: the sum is near the mean."""
    spec, layout = video(frames_per_second), Layout(sources, 4.0, 0.5)
    most = 16 * sources
    sizes = batch_sizes(spec, layout, most)
    low, mean, high = usual_counts(spec, layout)
    spread = math.ceil(math.sqrt(sources) / 2)  # a standard deviation
    counts = range(max(low, mean - spread), min(high, mean + spread) + 1)
    costs = [padded(count, most, sizes) / count for count in counts if count]
    assert sum(costs) / len(costs) < 1.2
    assert all(padded(count, most, sizes) == count for count in (low, mean, high))
    assert all(padded(count, most, sizes) >= count for count in range(most + 1))


@pytest.mark.parametrize("sources", [1, 2, 16])
@pytest.mark.parametrize("most", [1, 7, 40, 64, 512, 8192])
def test_a_text_is_padded_to_one_of_few_lengths(sources: int, most: int):
    assert padded_tokens(0, most, sources) > 0  # no engine takes inputs of no length
    lengths = [padded_tokens(count, most, sources) for count in range(1, most + 1)]
    assert all(count <= length <= most for count, length in enumerate(lengths, 1))
    assert len(set(lengths)) <= 4 + 2 * max(0, math.ceil(math.log2(most / 64)))


def test_a_case_knows_the_shapes_that_it_uses():
    encoder, head = EncoderCase("mic", 2, 8), HeadCase(1, (4,), frozenset({"mic"}))
    case = GraphCase((encoder,), head)
    assert case.uses(encoder)
    assert case.uses(head)
    assert not case.uses(EncoderCase("mic", 2, 12))
