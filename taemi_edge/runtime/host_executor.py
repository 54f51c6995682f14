"""Runs hops through sessions that take and give numpy arrays, on a CPU or through CUDA.

It encodes what is new, keeps features in rings in the host's memory, and runs the fusion head, with a missing-stream
token where a stream is lost. Several sources share a call: their frames, sound, texts and windows are batched.
`taemi_edge.runtime.tensorrt.executor` does the same on a GPU, where features stay on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import MODALITIES, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.runtime.rings import StepCounts, ring_capacity
from taemi_edge.runtime.sessions import Sessions
from taemi_edge.runtime.work import (
    Layout,
    Stopwatch,
    Work,
    WorkResult,
    as_slice,
    pad_texts,
    require_finite,
)

Item = TypeVar("Item")


class HostExecutor:
    """Implements `taemi_edge.runtime.work.Executor` on sessions; it owns the sessions and closes them.

    Args:
        bundle: the sessions' bundle.
        layout: how many sources there are, and how long their windows are.
        sessions: one for each part.
        backend: what predictions say about where they were made.
    """

    def __init__(self, bundle: Bundle, layout: Layout, sessions: Sessions, backend: str = "cpu") -> None:
        manifest = bundle.manifest
        self._backend = backend
        self.sessions = sessions
        self.steps = StepCounts(manifest, self._count_steps)
        self.capacity = ring_capacity(manifest, layout.window_s, self.steps)
        self._tokens = {m: np.ascontiguousarray(bundle.tokens[m], np.float32) for m in MODALITIES}
        self._rings: dict[Modality, Array] = {
            m: np.zeros((layout.sources, self.capacity[m], manifest.streams[m].feature_dim), np.float32)
            for m in MODALITIES
        }

    @property
    def backend(self) -> str:
        return self._backend

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        watch = Stopwatch()
        faults: dict[int, set[Modality]] = {work.source: set() for work in works}
        self._encode_frames(works, watch, faults)
        self._encode_sounds(works, watch, faults)
        self._encode_texts(works, watch, faults)
        clean = [work for work in works if work.fuse and not faults[work.source]]
        intensities = dict(zip([w.source for w in clean], self._fuse(clean, watch), strict=True)) if clean else {}
        return [
            WorkResult(intensities.get(work.source), watch.total_ms, frozenset(faults[work.source])) for work in works
        ]

    def features(self, source: int, modality: Modality, rows: Array) -> Array:
        copied: Array = self._rings[modality][source][rows]
        return copied

    def device_memory(self) -> tuple[int, int] | None:
        return None

    def close(self) -> None:
        self.sessions.close()

    def _count_steps(self, samples: int) -> int:
        silence = np.zeros((1, samples), np.float32)
        return int(self.sessions["audio"].run({"samples": silence})["features"].shape[1])

    def _encode_frames(self, works: Sequence[Work], watch: Stopwatch, faults: dict[int, set[Modality]]) -> None:
        frames = [(work.source, *frame) for work in works for frame in zip(work.pixels, work.pixel_rows, strict=True)]
        for batch in _batches(frames):
            with watch.timed("vision"):
                encoded = self.sessions["vision"].run({"pixels": np.stack([pixels for _, pixels, _ in batch])})
            at = 0
            for source, frames_of_one in groupby(batch, key=lambda frame: frame[0]):
                rows = np.array([row for _, _, row in frames_of_one])
                self._keep(source, "vision", rows, encoded["features"][at : at + len(rows)], faults)
                at += len(rows)

    def _encode_sounds(self, works: Sequence[Work], watch: Stopwatch, faults: dict[int, set[Modality]]) -> None:
        sounds = [(work.source, sound) for work in works for sound in work.sounds]
        for length in sorted({len(sound.samples) for _, sound in sounds}):
            for batch in _batches([pair for pair in sounds if len(pair[1].samples) == length]):
                with watch.timed("audio"):
                    encoded = self.sessions["audio"].run({"samples": np.stack([s.samples for _, s in batch])})
                for (source, sound), features in zip(batch, encoded["features"], strict=True):
                    self._keep(source, "audio", sound.rows, features, faults)

    def _encode_texts(self, works: Sequence[Work], watch: Stopwatch, faults: dict[int, set[Modality]]) -> None:
        texts = [(work.source, work.ids) for work in works if work.ids is not None]
        for batch in _batches(texts):
            feeds = pad_texts([ids for _, ids in batch])
            with watch.timed("text"):
                encoded = self.sessions["text"].run(feeds)
            for (source, ids), features in zip(batch, encoded["features"], strict=True):
                self._keep(source, "text", np.arange(len(ids)), features[: len(ids)], faults)

    def _keep(
        self, source: int, modality: Modality, rows: Array, features: Array, faults: dict[int, set[Modality]]
    ) -> None:
        """Write features (T, D) to their rows of the ring; a NaN among them is a fault, and they are not kept then.

        Features without a row come first: those of a chunk's context, or those that later rows of the call overwrite.
        """
        first = int(np.count_nonzero(rows < 0))
        kept = features[first:]
        if not np.isfinite(kept.sum(dtype=np.float64)):  # NaN and infinities stay in a sum, and it allocates nothing
            faults[source].add(modality)
        elif len(kept):
            self._rings[modality][source][as_slice(rows[first:])] = kept

    def _fuse(self, works: Sequence[Work], watch: Stopwatch) -> Array:
        """Intensities (B, 6) of windows of different lengths and patterns in one call."""
        feeds: dict[str, Array] = {}
        for m in MODALITIES:
            feeds[m], feeds[f"{m}_mask"] = self._window(m, works)
        with watch.timed("fusion"):
            intensities = self.sessions["fusion"].run(feeds)["intensities"]
        return require_finite(intensities)

    def _window(self, modality: Modality, works: Sequence[Work]) -> tuple[Array, Array]:
        """One stream of all works, (B, T, D), and its mask, (B, T).

        Where a work has lost the stream, its row holds the token; rows that are shorter than others are padded.
        """
        ring, token = self._rings[modality], self._tokens[modality]
        if len(works) == 1:
            rows = works[0].window.get(modality)
            only = token[None] if rows is None else ring[works[0].source][as_slice(rows)]
            return only[None], np.ones((1, len(only)), np.int32)
        longest = max(len(work.window.get(modality, (0,))) for work in works)
        features = np.zeros((len(works), longest, len(token)), np.float32)
        mask = np.zeros((len(works), longest), np.int32)
        for row, work in enumerate(works):
            rows = work.window.get(modality)
            steps = 1 if rows is None else len(rows)
            features[row, :steps] = token if rows is None else ring[work.source][rows]
            mask[row, :steps] = 1
        return features, mask


def _batches(items: list[Item]) -> Iterator[list[Item]]:
    for at in range(0, len(items), MAX_BATCH):
        yield items[at : at + MAX_BATCH]
