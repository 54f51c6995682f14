"""Times in, rows out: where the features of a stream lie in a ring that is written round and round.

The index is kept on the host wherever the features are, so that what a window holds is known before anything is
encoded. The fusion head has no positions on its keys: a window may be read from a ring in any order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taemi_edge.bundle.spec import Array, Manifest, Modality
from taemi_edge.media.chunks import MAX_BATCH, kept_steps

_EPSILON_S = 1e-6
_NEVER = -np.inf


class RingIndex:
    """The time of each row of a ring of `capacity` rows.

    Example:
        >>> ring = RingIndex(3)
        >>> ring.push(np.array([0.1, 0.2])).tolist(), ring.push(np.array([0.3, 0.4])).tolist()
        ([0, 1], [2, 0])
        >>> ring.window(0.1, 0.4).tolist()
        [1, 2, 0]
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._times_s = np.full(capacity, _NEVER)
        self._next = 0
        self._order = np.arange(capacity)

    def push(self, times_s: Array) -> Array:
        """The rows, int32 (T,), for features of these times; -1 for those that later ones of them would overwrite."""
        count = len(times_s)
        rows = (self._next + np.arange(count)) % self.capacity
        rows[: max(0, count - self.capacity)] = -1
        kept = rows >= 0
        self._times_s[rows[kept]] = times_s[kept]
        self._next = (self._next + count) % self.capacity
        return rows.astype(np.int32)

    def window(self, after_s: float, until_s: float) -> Array:
        """The rows, int64 (T,), of (after_s, until_s] in the order they were pushed."""
        order = (self._next + self._order) % self.capacity
        times = self._times_s[order]
        chosen: Array = order[(times > after_s + _EPSILON_S) & (times <= until_s + _EPSILON_S)]
        return chosen

    def keep_only(self, rows: Array) -> None:
        """Forget every other row: its features are gone."""
        lost = np.ones(self.capacity, np.bool_)
        lost[rows[rows >= 0]] = False
        self._times_s[lost] = _NEVER


def ring_capacity(manifest: Manifest, window_s: float, steps: StepCounts) -> dict[Modality, int]:
    """Room for the longest window: frames by their rate, audio by what one chunk gives, texts by their limit."""
    frames = int(window_s * manifest.vision.frames_per_second) + 2
    chunks = int(window_s / manifest.audio.chunk_s) + 2
    return {"vision": max(frames, MAX_BATCH), "audio": chunks * steps.per_chunk, "text": manifest.text.max_tokens}


class StepCounts:
    """How many feature vectors the audio encoder gives for a chunk, alone and after its context."""

    def __init__(self, manifest: Manifest, count: Callable[[int], int]) -> None:
        """Ask `count`, samples to steps, once for each length that there is."""
        audio = manifest.audio
        self._chunk = audio.chunk_samples
        self.lengths = sorted({self._chunk, self._chunk + audio.context_samples})
        self._encoded = {samples: count(samples) for samples in self.lengths}

    @property
    def per_chunk(self) -> int:
        """The most that one chunk leaves in a ring."""
        return max(self.kept(samples) for samples in self.lengths)

    def encoded(self, samples: int) -> int:
        return self._encoded[samples]

    def kept(self, samples: int) -> int:
        """Those of the chunk itself, without its context."""
        return kept_steps(self._chunk, samples, self._encoded[samples])
