"""Chunks of sound on their grid: context, gaps, and sound that comes in any pieces."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec
from taemi_edge.media.chunks import Chunker

PRESENCE = PresenceSpec(stale_after_s=1, missing_after_s=2, recover_after_s=0)


SPEC = AudioSpec(feature_dim=1, sample_rate_hz=1000, chunk_s=0.5, context_s=0.25, presence=PRESENCE)


def test_chunks_come_with_their_context_and_exact_samples():
    chunker, values = Chunker(SPEC), np.arange(2000, dtype=np.float32)
    chunker.push(0.0, values[:700])
    first = chunker.take(0.7)
    chunker.push(0.7, values[700:])
    rest = chunker.take(2.0)
    assert [(s.start_s, s.end_s, len(s.samples)) for s in first + rest] == [
        (0.0, 0.5, 500),
        (0.5, 1.0, 750),
        (1.0, 1.5, 750),
        (1.5, 2.0, 750),
    ]
    np.testing.assert_array_equal(rest[0].samples, values[250:1000])


def test_a_gap_loses_its_chunk_and_the_context_of_the_next():
    chunker, values = Chunker(SPEC), np.ones(500, np.float32)
    chunker.push(0.0, values)
    chunker.push(1.0, values)
    chunker.push(1.5, values)
    assert [(s.start_s, len(s.samples)) for s in chunker.take(2.0)] == [(0.0, 500), (1.0, 500), (1.5, 750)]


def test_a_long_gap_costs_no_memory():
    chunker = Chunker(SPEC)
    for hop in range(1, 10_000):
        assert chunker.take(hop * 0.5) == []
    chunker.push(4999.5, np.ones(500, np.float32))
    (segment,) = chunker.take(5000.0)
    assert (segment.start_s, len(chunker._values)) == (4999.5, SPEC.context_samples)


def test_a_leap_of_years_costs_neither_memory_nor_time():
    chunker, values, years_s = Chunker(SPEC), np.ones(750, np.float32), 1e9
    chunker.push(0.0, values)
    chunker.push(years_s, values)
    assert len(chunker._values) == 750
    assert [s.start_s for s in chunker.take(2 * years_s)] == [0.0, years_s]
    assert chunker.take(3 * years_s) == []


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 900)), max_size=8), st.sampled_from([0.0, 1.0]))
def test_pauses_lose_the_chunks_of_which_too_little_came(pauses: list[tuple[int, int]], late_s: float):
    """What is given is as in a buffer of all time, whatever order the pieces come in while they are waited for."""
    pieces, at = [], 0
    for pause, length in pauses:
        pieces.append((at + pause, np.arange(at, at + length, dtype=np.float32)))
        at += pause + length
    came, chunker = np.zeros(at, np.bool_), Chunker(SPEC, late_s)
    for index, values in pieces[::-1] if late_s else pieces:
        chunker.push_at(index, values)
        came[index : index + len(values)] = True
    taken = chunker.take(at / 1000 + 10.0)
    usable = [i / 1000 for i in range(0, at, 500) if came[i : i + 500].sum() >= 450]
    assert [s.start_s for s in taken] == usable


@given(st.lists(st.integers(1, 900), min_size=1, max_size=12))
def test_chunks_do_not_depend_on_how_the_sound_was_cut(cuts: list[int]):
    values = np.random.default_rng(0).standard_normal(sum(cuts)).astype(np.float32)
    whole, pieces = Chunker(SPEC), Chunker(SPEC)
    whole.push(0.0, values)
    at, streamed = 0, []
    for cut in cuts:
        pieces.push(at / 1000, values[at : at + cut])
        at += cut
        streamed += pieces.take(at / 1000)
    expected = whole.take(at / 1000)
    assert [s.start_s for s in streamed] == [s.start_s for s in expected]
    for a, b in zip(streamed, expected, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)


def test_chunks_with_a_gap_inside_are_counted_and_beginnings_and_ends_are_not():
    chunker, values = Chunker(SPEC), np.ones(400, np.float32)
    for start_s in (0.1, 0.6, 1.1, 1.6):  # a tenth of a second is lost in each half second, as of a lossy link
        chunker.push(start_s, values)
    assert chunker.take(4.0) == []
    assert chunker.left_out == 3  # the first one began late, and the stream ended with the last
    whole = Chunker(SPEC)
    whole.push(0.0, np.ones(700, np.float32))
    whole.take(3.0)
    assert whole.left_out == 0
