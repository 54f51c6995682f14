"""Audio: chunks become rows of the ring, and the steps of their context become none."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec
from taemi_edge.media.chunks import MAX_BATCH, Segment
from taemi_edge.media.hops import SoundPiece
from taemi_edge.runtime.kinds import audio
from taemi_edge.runtime.kinds.audio import ChunkedState
from taemi_edge.runtime.kinds.kind import Opening
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.rings import Span, StepCounts
from taemi_edge.runtime.work import Stopwatch

PRESENCE = PresenceSpec(stale_after_s=1, missing_after_s=2, recover_after_s=0)
SPEC = AudioSpec(feature_dim=1, sample_rate_hz=1000, chunk_s=0.5, context_s=0.25, presence=PRESENCE)


@pytest.fixture
def stream() -> ChunkedState:
    """Sound whose encoder gives one step for a hundred samples."""
    steps = StepCounts(500, 250, lambda samples: samples // 100)
    return audio.open_stream(Opening(SPEC, StreamPresence(PRESENCE), 40, steps))


def test_the_steps_of_the_context_get_no_row(stream: ChunkedState):
    segments = stream.prepare([SoundPiece(0.0, np.ones(1000, np.float32))], 1.0, Stopwatch(), False)
    [batch] = stream.batches(segments, lost=False)
    first, second = stream.place(batch)
    assert (first.skipped, first.rows) == (0, Span(0, 5))
    assert (second.skipped, second.rows) == (2, Span(5, 5))
    assert stream.rows(0.5, 1.0) == Span(5, 5)
    assert stream.presence.at(1.0).state == "live"


def test_of_more_chunks_than_the_ring_holds_the_first_get_no_row(stream: ChunkedState):
    """Forty rows, five a chunk: nine chunks at once write no row twice."""
    segments = [Segment(i * 0.5, i * 0.5 + 0.5, np.zeros(500, np.float32), 500) for i in range(9)]
    items = stream.place(segments)
    assert [(item.skipped, item.rows) for item in items[:2]] == [(5, Span(5, 0)), (0, Span(5, 5))]
    assert sorted(row for item in items for row in item.rows.rows(40)) == list(range(40))
    assert stream.rows(0.0, 9.0) == Span(5, 40)


def test_many_chunks_come_in_batches(stream: ChunkedState):
    segments = [Segment(i * 0.5, i * 0.5 + 0.5, np.zeros(500, np.float32), 500) for i in range(MAX_BATCH + 1)]
    assert [len(batch) for batch in stream.batches(segments, lost=False)] == [MAX_BATCH, 1]


def test_sound_that_is_known_to_be_gone_is_not_encoded(stream: ChunkedState):
    segments = [Segment(0.0, 0.5, np.zeros(500, np.float32), 500)]
    assert list(stream.batches(segments, lost=True)) == []
    assert stream.presence.at(0.5).state == "missing"


def test_after_a_loss_only_the_new_rows_are_left(stream: ChunkedState):
    old, new = (Segment(s, s + 0.5, np.zeros(500, np.float32), 500) for s in (0.0, 0.5))
    stream.place([old])
    items = stream.place([new])
    assert stream.repeated(items) == items
    assert stream.rows(0.0, 1.0) == Span(5, 5)
    stream.forget()
    assert not stream.rows(0.0, 1.0).count


def test_sound_at_its_own_rate_may_be_as_slow_as_that_of_the_stream():
    """Sound of any other rate is resampled, from 1 kHz on: this needs none."""
    slow = AudioSpec(feature_dim=1, sample_rate_hz=50, chunk_s=0.5, presence=PRESENCE)
    intake = audio.open_intake("seismometer", slow, 4.0)
    values = np.arange(25, dtype=np.float32)
    intake.add(SoundPiece(0.5, values), 1.0)
    intake.add(SoundPiece(0.0, values), 1.0)
    assert intake.first_s() == 0.0
    [piece] = intake.take(1.0, lambda time_s: time_s)
    assert piece.time_s == 0.0
    np.testing.assert_array_equal(piece.values, np.concatenate([values, values]))
