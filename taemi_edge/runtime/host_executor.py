"""Runs hops through sessions that take and give numpy arrays, on a CPU or through CUDA.

It encodes what is new, keeps features in rings in the host's memory, and runs the head on the window; where a stream is
lost, the head reads what stands for it. Several sources share a call: their inputs and windows are batched. On a CPU
the calls of encoders may run side by side, and give the same as one after the other.
`taemi_edge.runtime.tensorrt.executor` does the same on a GPU, where features stay on the device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeVar

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import BackendError
from taemi_edge.runtime.host_way import HostWay
from taemi_edge.runtime.kinds import count_steps, kind_of, ring_capacity
from taemi_edge.runtime.lanes import Lanes
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.sessions import Sessions
from taemi_edge.runtime.work import Item, Layout, Stopwatch, Work, WorkResult, require_finite

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class _StandIn:
    """What the head reads of a missing stream: features (steps, D), and the value of the mask over them."""

    features: Array
    mask: int


@dataclass(frozen=True, eq=False)
class _Call:
    """The inputs that one call of a stream's encoder takes, each with the number of its source."""

    stream: str
    batch: list[tuple[int, Item]]


class HostExecutor:
    """Implements `taemi_edge.runtime.work.Executor` on sessions; it owns the sessions and closes them.

    Args:
        bundle: the sessions' bundle.
        layout: how many sources there are, and how long their windows are.
        sessions: one for each part.
        backend: what predictions say about where they were made.
        way: how the parts of a hop share the processor; by default they run one after the other.
    """

    def __init__(
        self, bundle: Bundle, layout: Layout, sessions: Sessions, backend: str = "cpu", way: HostWay | None = None
    ) -> None:
        manifest = self._manifest = bundle.manifest
        self._backend = backend
        way = way or HostWay()
        self._most = {part: 1 if sessions.mixes_rows(part) else way.most(part) for part in manifest.part_names}
        self._lanes = Lanes(min(way.lanes, len(manifest.streams) * layout.sources), way.pinned)
        #: What an input of a stream took last, in milliseconds: the longest calls begin first.
        self._each_ms: dict[str, float] = {}
        self.sessions = sessions
        self.steps = count_steps(manifest, self._count_steps)
        self.capacity = ring_capacity(manifest, layout.window_s, self.steps)
        self._stand_ins = {
            name: _StandIn(np.ascontiguousarray(bundle.tokens[name], np.float32), spec.missing.mask)
            for name, spec in manifest.streams.items()
        }
        self._rings: dict[str, Array] = {
            name: np.zeros((layout.sources, self.capacity[name], spec.feature_dim), np.float32)
            for name, spec in manifest.streams.items()
        }

    @property
    def backend(self) -> str:
        return self._backend

    def execute(self, works: Sequence[Work]) -> list[WorkResult]:
        watch = Stopwatch()
        faults: dict[int, set[str]] = {work.source: set() for work in works}
        calls = list(self._calls(works))
        costs = [self._each_ms.get(call.stream, np.inf) * len(call.batch) for call in calls]
        done = self._lanes.run([partial(self._encode, call) for call in calls], costs)
        for call, (took_ms, spoiled) in zip(calls, done, strict=True):
            watch.add({call.stream: took_ms})
            self._each_ms[call.stream] = took_ms / len(call.batch)
            for source in spoiled:
                faults[source].add(call.stream)
        clean = [work for work in works if work.fuse and not faults[work.source]]
        outputs = self._fuse(clean, watch) if clean else {}
        return [WorkResult(outputs.get(work.source), watch.total_ms, frozenset(faults[work.source])) for work in works]

    def features(self, source: int, stream: str, rows: Span) -> Array:
        copied: Array = self._rings[stream][source][rows.rows(self.capacity[stream])]
        return copied

    def slots(self, stream: str) -> None:
        return None

    def device_memory(self) -> tuple[int, int] | None:
        return None

    def close(self) -> None:
        self._lanes.close()
        self.sessions.close()

    def _count_steps(self, stream: str, length: int) -> int:
        spec = self._manifest.streams[stream]
        example = kind_of(spec).example(spec, length)
        encoded = self.sessions[stream].run({name: value[None] for name, value in example.items()})
        return int(encoded["features"].shape[1])

    def _calls(self, works: Sequence[Work]) -> Iterator[_Call]:
        """What is new in works, as calls of encoders; inputs that may share a call do."""
        for stream, spec in self._manifest.streams.items():
            items = [(work.source, item) for work in works for item in work.items.get(stream, ())]
            keys = [kind_of(spec).share_key(item) for _, item in items]
            for key in dict.fromkeys(keys):
                alike = [pair for pair, own in zip(items, keys, strict=True) if own == key]
                yield from (_Call(stream, batch) for batch in _batches(alike, self._most[stream]))

    def _encode(self, call: _Call) -> tuple[float, set[int]]:
        """Run a call; gives its milliseconds, and the sources whose features are no numbers and were not kept.

        Calls of one hop run in several threads: they share nothing but the sessions, and write to rows of their own.
        """
        feeds = kind_of(self._manifest.streams[call.stream]).batch_feeds([item for _, item in call.batch])
        started = time.perf_counter()
        features = self.sessions[call.stream].run(feeds)["features"]
        took_ms = (time.perf_counter() - started) * 1e3
        return took_ms, self._keep_batch(call.stream, call.batch, features)

    def _keep_batch(self, stream: str, batch: list[tuple[int, Item]], features: Array) -> set[int]:
        """Write the features of a batch, (B, D) or (B, T, D), to the rings of their sources; gives the spoiled ones."""
        steps = features[:, None] if features.ndim == 2 else features
        longest = max(item.skipped + item.rows.count for _, item in batch)
        if longest > steps.shape[1]:
            raise BackendError(
                f"{stream}: expected {longest} steps of its encoder, got {steps.shape[1]}: export the model anew"
            )
        at, spoiled = 0, set()
        for source, of_one in groupby(batch, key=lambda pair: pair[0]):
            items = [item for _, item in of_one]
            new = [steps[at + i, item.skipped : item.skipped + item.rows.count] for i, item in enumerate(items)]
            # NaN and infinities stay in a sum; it allocates nothing
            if np.isfinite(sum(values.sum(dtype=np.float64) for values in new)):
                for item, values in zip(items, new, strict=True):
                    self._write(source, stream, item.rows, values)
            else:
                spoiled.add(source)
            at += len(items)
        return spoiled

    def _write(self, source: int, stream: str, rows: Span, features: Array) -> None:
        """Write features (T, D) to their rows of the ring."""
        at = 0
        for piece in rows.slices(self.capacity[stream]):
            count = piece.stop - piece.start
            self._rings[stream][source][piece] = features[at : at + count]
            at += count

    def _read(self, source: int, stream: str, rows: Span) -> Array:
        """The features (T, D) of some rows; a view of the ring where they do not go round its end."""
        pieces = [self._rings[stream][source][piece] for piece in rows.slices(self.capacity[stream])]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _fuse(self, works: Sequence[Work], watch: Stopwatch) -> dict[int, dict[str, Array]]:
        """The outputs of windows of different patterns, by source; those that may share a call do.

        A head that takes padding gets windows of all lengths together, any other those of equal lengths.
        """
        outputs: dict[int, dict[str, Array]] = {}
        lengths = [() if self._manifest.head.takes_padding else self._lengths(work) for work in works]
        for length in dict.fromkeys(lengths):
            alike = [work for work, own in zip(works, lengths, strict=True) if own == length]
            for together in _batches(alike, self._most[HEAD]):
                feeds = self._head_feeds(together)
                with watch.timed(HEAD):
                    given = self.sessions[HEAD].run(feeds)
                require_finite(given)
                for row, work in enumerate(together):
                    outputs[work.source] = {name: given[name][row] for name in self._manifest.outputs}
        return outputs

    def _lengths(self, work: Work) -> tuple[int, ...]:
        """How many steps each stream of a window has."""
        return tuple(
            work.window[name].count if name in work.window else len(stand_in.features)
            for name, stand_in in self._stand_ins.items()
        )

    def _head_feeds(self, works: Sequence[Work]) -> dict[str, Array]:
        feeds: dict[str, Array] = {}
        for stream in self._manifest.streams:
            feeds[stream], mask = self._window(stream, works)
            if self._manifest.head.masks:
                feeds[f"{stream}_mask"] = mask
        return feeds

    def _window(self, stream: str, works: Sequence[Work]) -> tuple[Array, Array]:
        """One stream of all works, (B, T, D), and its mask, (B, T).

        Where a work has lost the stream, its row holds what stands for it; rows that are shorter than others are
        padded.
        """
        stand_in = self._stand_ins[stream]
        spans = [work.window.get(stream) for work in works]
        held = [
            stand_in.features if rows is None else self._read(work.source, stream, rows)
            for work, rows in zip(works, spans, strict=True)
        ]
        longest = max(map(len, held))
        mask = np.zeros((len(works), longest), np.int32)
        for at, (rows, values) in enumerate(zip(spans, held, strict=True)):
            mask[at, : len(values)] = stand_in.mask if rows is None else 1
        if len(works) == 1:
            return held[0][None], mask
        features = np.zeros((len(works), longest, stand_in.features.shape[-1]), np.float32)
        for at, values in enumerate(held):
            features[at, : len(values)] = values
        return features, mask


def _batches(items: list[T], most: int) -> Iterator[list[T]]:
    for at in range(0, len(items), most):
        yield items[at : at + most]
