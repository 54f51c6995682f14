"""Audio: chunks become rows of the ring, and the steps of their context become none."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec
from taemi_edge.media.chunks import MAX_BATCH, Segment
from taemi_edge.media.hops import Samples
from taemi_edge.runtime.kinds.audio import AudioStream
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.work import Stopwatch, Work

PRESENCE = PresenceSpec(stale_after_s=1, missing_after_s=2, recover_after_s=0)
SPEC = AudioSpec(feature_dim=1, sample_rate_hz=1000, chunk_s=0.5, context_s=0.25, presence=PRESENCE)


class HundredthSteps:
    """An encoder that gives one step for a hundred samples."""

    def encoded(self, samples: int) -> int:
        return samples // 100

    def kept(self, samples: int) -> int:
        return 5


@pytest.fixture
def stream() -> AudioStream:
    return AudioStream(SPEC, StreamPresence(PRESENCE), 40, HundredthSteps())


def prepared(end_s: float, segments: list[Segment], fault: str | None = None, **losses: str) -> PreparedHop:
    return PreparedHop(end_s, iter(()), segments, fault, Stopwatch(), 0.0, losses)


def test_the_steps_of_the_context_get_no_row(stream: AudioStream):
    segments = stream.prepare([Samples(0.0, np.ones(1000, np.float32))], 1.0)
    [batch] = stream.batches(prepared(1.0, segments))
    first, second = stream.place(batch)["sounds"]
    assert first.rows.tolist() == [0, 1, 2, 3, 4]
    assert second.rows.tolist() == [-1, -1, 5, 6, 7, 8, 9]
    assert stream.rows(0.5, 1.0).tolist() == [5, 6, 7, 8, 9]
    assert stream.presence.at(1.0).state == "live"


def test_many_chunks_come_in_batches(stream: AudioStream):
    segments = [Segment(i * 0.5, i * 0.5 + 0.5, np.zeros(500, np.float32), 500) for i in range(MAX_BATCH + 1)]
    assert [len(batch) for batch in stream.batches(prepared(9.0, segments))] == [MAX_BATCH, 1]


def test_a_fault_is_the_reason_once_the_stream_is_missing(stream: AudioStream):
    assert list(stream.batches(prepared(1.0, [], "NaN in the sound"))) == []
    assert stream.presence.at(1.0).reason == "NaN in the sound"


def test_after_a_loss_only_the_new_rows_are_left(stream: AudioStream):
    old, new = (Segment(s, s + 0.5, np.zeros(500, np.float32), 500) for s in (0.0, 0.5))
    stream.place([old])
    work = Work(**stream.place([new]))
    stream.keep_only(work)
    assert stream.rows(0.0, 1.0).tolist() == [5, 6, 7, 8, 9]
    stream.keep_only(Work())
    assert not len(stream.rows(0.0, 1.0))
