"""Divides the work of a hop into calls that fit the engines, and names the shapes of each call.

Every call is padded to one of a few sizes, so that a captured CUDA graph can be replayed for it. For one source the
sizes are fine. For several they follow from what an ordinary hop of all of them brings: fine there, coarse elsewhere,
because the sizes of all streams multiply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TypeVar

from taemi_edge.bundle.streams import ChunkedSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.runtime.work import Item, Layout, Work

#: Batches of one source are padded up to one of these, which bounds how many graphs there can be.
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
#: Texts of one source are padded up to a multiple of so many tokens, as long as they have less than four times as many.
TOKENS_STEP = 16
#: How much more than an ordinary hop of several sources the next larger size takes.
_ROOM = 1.25

Element = TypeVar("Element")


class _HashedOnce:
    """A key of dictionaries that are asked with every hop: its hash is computed once."""

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class EncoderCase(_HashedOnce):
    """The shape of one call of an encoder.

    Attributes:
        stream: whose encoder it is.
        batch: how many inputs it takes, with those that pad the batch.
        length: of each input: samples, rows or tokens; 0 where all inputs have one shape.
    """

    stream: str
    batch: int
    length: int = 0

    __hash__ = _HashedOnce.__hash__


@dataclass(frozen=True)
class HeadCase(_HashedOnce):
    """The shape of one call of the head.

    Attributes:
        batch: how many windows it takes, with those that pad the batch.
        steps: how many feature vectors of each stream a window has, in the model's order.
        live: the streams that are read from the buffers that encoders fill; of the others, the stand-in is bound.
    """

    batch: int
    steps: tuple[int, ...]
    live: frozenset[str]

    __hash__ = _HashedOnce.__hash__


@dataclass(frozen=True)
class GraphCase(_HashedOnce):
    """What decides the shapes and addresses of a call.

    Attributes:
        encoders: of the streams that have something new, in the model's order.
        head: None where only encoders run.
        timed: whether the time of each part is measured, which costs a few calls on the GPU.
    """

    encoders: tuple[EncoderCase, ...]
    head: HeadCase | None
    timed: bool = False

    __hash__ = _HashedOnce.__hash__

    @property
    def untimed(self) -> GraphCase:
        """The same case without times."""
        return replace(self, timed=False) if self.timed else self

    def uses(self, shape: EncoderCase | HeadCase) -> bool:
        """Whether a call of this shape is part of it."""
        return shape == self.head or shape in self.encoders


@dataclass(frozen=True, eq=False)
class Call:
    """The inputs that go to the device together.

    Attributes:
        inputs: (source, item) for each new input of a stream, by stream; those of one stream have one length, but for
            texts, which are padded.
        windows: the works that want a prediction from this call.
    """

    inputs: Mapping[str, Sequence[tuple[int, Item]]] = field(default_factory=dict)
    windows: Sequence[Work] = ()


def split_into_calls(
    works: Sequence[Work],
    most: Mapping[str, int],
    lengths: Mapping[str, Callable[[Item], int]],
    groups: Callable[[Sequence[Work]], Sequence[Sequence[Work]]],
) -> Iterator[Call]:
    """Divide works into calls of at most what the engines take.

    Whatever is new is encoded before the first prediction is made: the predictions come with the last call of an
    encoder, and with calls of their own where not all windows fit together.

    Args:
        most: how many inputs the engine of a stream takes in one call.
        lengths: gives the length of an input of streams whose inputs have several: only those of one length share a
            call.
        groups: divides the works that want a prediction into those that may share a call of the head.
    """
    pieces: dict[str, list[Sequence[tuple[int, Item]]]] = {}
    for stream, largest in most.items():
        new = [(work.source, item) for work in works for item in work.items.get(stream, ())]
        if new:
            pieces[stream] = _divided(new, largest, lengths.get(stream))
    windows = groups([work for work in works if work.fuse])
    encoding = max((len(queued) for queued in pieces.values()), default=0)
    for index in range(encoding):
        together = {stream: queued[index] for stream, queued in pieces.items() if index < len(queued)}
        yield Call(together, windows[0] if windows and index == encoding - 1 else ())
    for window in windows[1 if encoding else 0 :]:
        yield Call(windows=window)


def padded(count: int, most: int, sizes: Sequence[int] = BUCKETS) -> int:
    """A batch's size as it is run: the next of the sizes, at most what the engine takes; 0 stays 0.

    >>> padded(5, 48), padded(0, 48), padded(40, 44)
    (6, 0, 44)
    """
    return 0 if count == 0 else min(next((size for size in sizes if size >= count), most), most)


def padded_tokens(longest: int, most: int, sources: int = 1) -> int:
    """How many tokens a batch of texts is padded to.

    >>> padded_tokens(17, 128), padded_tokens(125, 120), padded_tokens(70, 512), padded_tokens(33, 512, sources=16)
    (32, 120, 96, 64)
    """
    if sources == 1 and longest <= 4 * TOKENS_STEP:
        return min(max(1, -(-longest // TOKENS_STEP)) * TOKENS_STEP, most)
    size = 2 * TOKENS_STEP
    while size < longest:
        between = size * 3 // 2
        size = between if sources == 1 and longest <= between else 2 * size
    return min(size, most)


def batch_sizes(spec: StreamSpec, layout: Layout, most: int) -> tuple[int, ...]:
    """The sizes that batches of a stream are padded to, ascending.

    For several sources these are: a quarter of an ordinary hop, for a few sources that come late; a whole batch of one
    source, for what it has in arrears; the ordinary hops; a little more; and from there on twice as many each.

    Args:
        most: how many inputs the stream's engine takes in one call.

    Example:
        >>> from taemi_edge.bundle.streams import PresenceSpec, VideoSpec
        >>> presence = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
        >>> camera = VideoSpec(feature_dim=4, presence=presence, size_hw=(8, 8), frames_per_second=5.0)
        >>> batch_sizes(camera, Layout(16, 4.0, 0.5), 64)
        (8, 16, 32, 40, 48, 60, 64)
    """
    if layout.sources == 1:
        return tuple(size for size in BUCKETS if size < most) + (most,)
    low, usual, high = usual_counts(spec, layout)
    if isinstance(spec, TextSpec):
        return (*sorted({size for size in (-(-high // 4), high) if size < most}), most)
    sizes = {-(-(low or usual) // 4), low or usual, usual, high}
    if low > MAX_BATCH:
        sizes.add(MAX_BATCH)
    if not low:  # the sum of few inputs varies more
        sizes |= {-(-3 * usual // 4), min(high, math.ceil(usual * _ROOM))}
    above = math.ceil(high * _ROOM)
    while above < most:
        sizes.add(above)
        above *= 2
    return (*sorted(size for size in sizes if size < most), most)


def usual_counts(spec: StreamSpec, layout: Layout) -> tuple[int, int, int]:
    """How many new inputs of a stream an ordinary hop of all sources brings: the fewest, the mean and the most.

    They differ where the hop is no multiple of the time from one input to the next. Of texts any number may be new.
    """
    if isinstance(spec, TextSpec):
        return 0, layout.sources, layout.sources
    if isinstance(spec, VideoSpec):
        each = spec.frames_per_second * layout.hop_s
    elif isinstance(spec, ChunkedSpec) and spec.chunk_s:
        each = layout.hop_s / spec.chunk_s
    else:
        each = 1.0
    each = round(each, 9)  # .3 / .1 is less than 3
    mean = max(1, math.ceil(round(each * layout.sources, 6)))
    return math.floor(each) * layout.sources, mean, math.ceil(each) * layout.sources


def usual_batches(spec: StreamSpec, layout: Layout, most: int) -> list[int]:
    """How many new inputs of a stream an ordinary hop of all sources brings, padded; 0 where it may bring none.

    Args:
        most: how many inputs the stream's engine takes in one call.
    """
    sizes = batch_sizes(spec, layout, most)
    low, usual, high = usual_counts(spec, layout)
    counts = {0, -(-high // 4), high} if isinstance(spec, TextSpec) else {low, usual, high}
    return sorted({padded(min(count, most), most, sizes) for count in counts})


def _divided(
    new: Sequence[tuple[int, Item]], largest: int, length: Callable[[Item], int] | None
) -> list[Sequence[tuple[int, Item]]]:
    """Divide the inputs of a stream into those that share a call, the short ones first."""
    if length is None or len(new) == 1:
        return [new] if len(new) <= largest else list(_split(new, largest))
    by_length: dict[int, list[tuple[int, Item]]] = {}
    for one in new:
        by_length.setdefault(length(one[1]), []).append(one)
    return [piece for size in sorted(by_length) for piece in _split(by_length[size], largest)]


def _split(items: Sequence[Element], most: int) -> Iterator[Sequence[Element]]:
    for at in range(0, len(items), most):
        yield items[at : at + most]
