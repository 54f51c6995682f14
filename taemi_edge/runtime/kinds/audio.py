"""The sound of one source: samples become chunks of a fixed grid, and each chunk gets rows of the feature ring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import AudioSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import MAX_BATCH, AudioChunker, Segment, step_times
from taemi_edge.media.hops import Samples
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.rings import RingIndex, StepCounts
from taemi_edge.runtime.work import SoundChunk, Work


class AudioStream:
    """Prepares the sound of one source for the audio encoder.

    Args:
        spec: the sample rate, and the lengths of a chunk and of the context before it.
        presence: notes when usable chunks arrive.
        capacity: how many rows the source has in the ring.
        steps: how many feature vectors the encoder gives for a chunk.
        patience_s: how long sound that arrives late is waited for.
    """

    def __init__(
        self, spec: AudioSpec, presence: StreamPresence, capacity: int, steps: StepCounts, patience_s: float = 0.0
    ) -> None:
        self.presence = presence
        self._steps = steps
        self._chunker = AudioChunker(spec, patience_s)
        self._ring = RingIndex(capacity)

    def prepare(self, samples: Iterable[Samples], end_s: float) -> list[Segment]:
        """Cut the whole chunks up to `end_s`; may run in a thread of the source's own."""
        return self._chunker.cut(samples, end_s)

    def batches(self, hop: PreparedHop) -> Iterator[list[Segment]]:
        """A hop's chunks, at most MAX_BATCH at a time; notes their arrival.

        Nothing where the sound is known to be gone at the hop's end: its encoder need not run.
        """
        if "audio" in hop.losses:
            return
        if hop.audio_fault:
            self.presence.suspect(hop.audio_fault)
        for segment in hop.segments:
            self.presence.arrive(segment.end_s)
        for at in range(0, len(hop.segments), MAX_BATCH):
            yield hop.segments[at : at + MAX_BATCH]

    def place(self, segments: Sequence[Segment]) -> dict[str, Any]:
        """Give chunks their rows of the ring; returns the fields of `Work` for them."""
        return {"sounds": [SoundChunk(segment.samples, self._new_rows(segment)) for segment in segments]}

    def rows(self, after_s: float, until_s: float) -> Array:
        """The rows of the sound in (after_s, until_s], (T,), T possibly 0."""
        return self._ring.window(after_s, until_s)

    def keep_only(self, work: Work) -> None:
        """Forget all features but those that a piece of work brings anew."""
        self._ring.keep_only(np.concatenate([np.zeros(0, np.int32), *(sound.rows for sound in work.sounds)]))

    def forget(self) -> None:
        """Forget all features."""
        self._ring.keep_only(np.zeros(0, np.int32))

    def _new_rows(self, segment: Segment) -> Array:
        """The row of each encoded step, int32 (T,); -1 for the steps of the context, which are not kept."""
        samples = len(segment.samples)
        kept = self._ring.push(step_times(segment, self._steps.kept(samples)))
        rows = np.full(self._steps.encoded(samples), -1, np.int32)
        rows[-len(kept) :] = kept
        return rows
