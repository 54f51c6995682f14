"""The inputs of the benchmark, taken from a bundle's golden feeds.

They are the feeds of each part at any batch, and one whole window, each with the output that the reference gave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import ChunkedSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, Array, end_to_end_tolerance
from taemi_edge.errors import BundleError
from taemi_edge.parity.golden import WINDOW, Case, golden_cases, usual_case, window_calls
from taemi_edge.parity.samples import Row, calls_of

#: "hop": only what came since the last prediction is encoded. "window": everything is encoded, as a script does that
#: keeps no features.
WindowKind = Literal["hop", "window"]
#: What an encoder is fed: batches of rows, in the order of time.
Calls = Sequence[Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class BenchWindow:
    """One window of a model's streams.

    Attributes:
        rows: what the encoder of each stream is fed, row by row without a batch axis, in the order of time: pictures or
            clips, chunks with their context, rows of numbers, or one text.
        new: how many of a stream's rows came with the last hop.
        length_s: how many seconds the longest stream lasts, at least the model's window.
        expected: the outputs that the reference gave, one after the other, by the name of the presence pattern; empty
            where the rows are not those that it was given.
        hop_s: how many seconds the last hop lasts.
        tolerance: the largest error of an output that parity allows.
    """

    rows: Mapping[str, Sequence[Row]]
    new: Mapping[str, int]
    length_s: float
    hop_s: float
    expected: Mapping[str, Array]
    tolerance: float

    def before(self, kind: WindowKind, stream: str) -> Sequence[Row]:
        """The rows that a run of this kind finds encoded already."""
        return self.rows[stream][: self._first_new(kind, stream)]

    def due(self, kind: WindowKind, stream: str) -> Sequence[Row]:
        """The rows that a run of this kind encodes."""
        return self.rows[stream][self._first_new(kind, stream) :]

    def _first_new(self, kind: WindowKind, stream: str) -> int:
        return len(self.rows[stream]) - self.new[stream] if kind == "hop" else 0


class Feeds:
    """The golden feeds of a bundle.

    Raises:
        BundleError: it has no golden feeds, or they are not those of its streams.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._cases = golden_cases(bundle)
        self._manifest = bundle.manifest

    def part(self, part: str, batch: int) -> tuple[dict[str, Array], Array]:
        """A part's feeds at a batch, and the outputs that the reference gave for them, one after the other."""
        case = self._tiled_case(part)
        expected = joined_outputs(case.expected or {})
        return {name: _tiled(value, batch) for name, value in case.feeds.items()}, _tiled(expected, batch)

    def window(self, length_s: float = 0.0, hop_s: float = 0.0) -> BenchWindow:
        """The first window of the golden feeds; its last rows came with the last hop.

        Args:
            length_s: of another window than the model's, whose rows are those of the golden feeds again and again, or
                the newest of them; 0 for the golden feeds as they are.
            hop_s: of another hop than the model's; 0 for that.
        """
        manifest, hop_s = self._manifest, hop_s or self._manifest.window.hop_s
        calls = window_calls(self._cases, WINDOW, manifest.streams)
        rows = {name: _rows_of(of_one) for name, of_one in calls.items()}
        if length_s:
            share = length_s / manifest.window.length_s
            rows = {name: _lasting(of_one, manifest.streams[name], length_s, share) for name, of_one in rows.items()}
        kept = {name: of_one[-_most_rows(manifest.streams[name]) :] for name, of_one in rows.items()}
        cut = [name for name in rows if len(kept[name]) < min(len(rows[name]), manifest.streams[name].max_steps)]
        window_s = length_s or manifest.window.length_s
        lengths_s = [len(of_one) * _seconds_a_row(manifest.streams[name]) for name, of_one in kept.items()]
        return BenchWindow(
            rows=kept,
            new={
                name: min(len(of_one), _new_rows(manifest.streams[name], len(of_one), hop_s, window_s))
                for name, of_one in kept.items()
            },
            length_s=max(window_s, *lengths_s),
            hop_s=hop_s,
            expected={} if cut or length_s else self._expected(),
            tolerance=end_to_end_tolerance(manifest.tolerances).max_abs,
        )

    def _expected(self) -> dict[str, Array]:
        return {
            self._manifest.pattern_name(case.pattern): joined_outputs(case.expected or {})[0]
            for case in self._cases
            if case.part == HEAD and case.name == WINDOW and case.pattern is not None
        }

    def _tiled_case(self, part: str) -> Case:
        """The case that is tiled to a batch: of the head one window with all streams, of a text one row, else the
        largest batch.
        """
        cases = [c for c in self._cases if c.part == part and (c.pattern is None or len(c.pattern) == self._streams)]
        if part == HEAD or isinstance(self._manifest.streams[part], TextSpec):
            return usual_case(cases, part)
        if not cases:
            raise BundleError(f"golden feeds: expected a case of {part!r}, found none: export the model again")
        return max(cases, key=lambda case: _size(case.feeds))

    @property
    def _streams(self) -> int:
        return len(self._manifest.streams)


def joined_outputs(outputs: Mapping[str, Array]) -> Array:
    """The outputs of a part, one after the other along their last axis, in the order of their names.

    >>> joined_outputs({"state": np.ones((1, 1)), "mood": np.zeros((1, 3))}).tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """
    values = [outputs[name] for name in sorted(outputs)]
    return values[0] if len(values) == 1 else np.concatenate(values, axis=-1)


def batched(rows: Sequence[Row]) -> Calls:
    """Rows as a script feeds them to an encoder: all that follow each other and have equal shapes in one batch."""
    return calls_of(rows, max(1, len(rows)))


def _rows_of(calls: Calls) -> list[Row]:
    """The rows of some calls one by one; of texts, without padding."""
    rows = [{n: v[i] for n, v in call.items()} for call in calls for i in range(len(next(iter(call.values()))))]
    return [{n: v[row["mask"] > 0] for n, v in row.items()} if "mask" in row else row for row in rows]


def _most_rows(spec: StreamSpec) -> int:
    """So many rows of a stream are timed, the newest: all of them, but of rows without a rate those that are read."""
    return spec.max_rows if isinstance(spec, SeriesSpec) and not spec.rate_hz else 1 << 30


def _lasting(rows: list[Row], spec: StreamSpec, length_s: float, share: float) -> list[Row]:
    """So many rows of a stream as last so long, the newest last; a text is the same in a window of any length.

    Args:
        share: how many rows without a rate there are, as a share of those that are given.
    """
    if isinstance(spec, TextSpec) or not rows:
        return rows
    period_s = _seconds_a_row(spec)
    count = max(1, round(length_s / period_s if period_s else len(rows) * share))
    return [rows[(number - count) % len(rows)] for number in range(count)]


def _new_rows(spec: StreamSpec, rows: int, hop_s: float, window_s: float) -> int:
    """How many rows of a stream come with a hop; of chunks that are longer than a hop, one.

    A text is encoded as a whole whenever a word comes. Rows without a rate are spread evenly over the window.
    """
    if isinstance(spec, TextSpec):
        return rows
    if period_s := _seconds_a_row(spec):
        in_hop = hop_s / period_s
        return max(1, round(in_hop) if isinstance(spec, ChunkedSpec) else math.ceil(in_hop - 1e-9))
    return math.ceil(rows * hop_s / window_s)


def _seconds_a_row(spec: StreamSpec) -> float:
    """How many seconds of a stream are one row of its encoder; 0 of texts and of rows without a rate."""
    if isinstance(spec, VideoSpec):
        return 1 / spec.frames_per_second
    return spec.chunk_s if isinstance(spec, ChunkedSpec) else 0.0


def _size(feeds: Mapping[str, Array]) -> tuple[int, int]:
    """The rows of a batch, and then the values in it."""
    return len(next(iter(feeds.values()))), sum(value.size for value in feeds.values())


def _tiled(values: Array, batch: int) -> Array:
    times = -(-batch // len(values))
    return np.ascontiguousarray(np.tile(values, (times, *[1] * (values.ndim - 1)))[:batch])
