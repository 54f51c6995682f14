"""Divides the work of a hop into calls that fit the engines, and names the shapes of each call.

Every call is padded to one of a few sizes, so that a captured CUDA graph can be replayed for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TypeVar

from taemi_edge.bundle.streams import ChunkedSpec, StreamSpec, VideoSpec
from taemi_edge.runtime.work import Item, Layout, Work

#: Batches are padded up to one of these, which bounds how many graphs there can be.
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
#: Texts are padded up to a multiple of so many tokens.
TOKENS_STEP = 16

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


def padded(count: int, most: int) -> int:
    """A batch's size as it is run: the next bucket, at most what the engine takes; 0 stays 0.

    >>> padded(5, 48), padded(0, 48), padded(40, 44)
    (6, 0, 44)
    """
    return 0 if count == 0 else min(next((b for b in BUCKETS if b >= count), most), most)


def padded_tokens(longest: int, most: int) -> int:
    """How many tokens a batch of texts is padded to.

    >>> padded_tokens(17, 128), padded_tokens(125, 120)
    (32, 120)
    """
    return min(-(-longest // TOKENS_STEP) * TOKENS_STEP, most)


def usual_batches(spec: StreamSpec, layout: Layout, most: int) -> list[int]:
    """How many new inputs of a stream an ordinary hop of all sources brings, padded.

    There are two counts of pictures where the frame rate is no multiple of the hop rate.

    Args:
        most: how many inputs the stream's engine takes in one call.
    """
    if isinstance(spec, VideoSpec):
        each = spec.frames_per_second * layout.hop_s
        counts = {math.floor(each), math.ceil(each)}
    elif isinstance(spec, ChunkedSpec) and spec.chunk_s:
        counts = {max(1, round(layout.hop_s / spec.chunk_s))}
    else:
        counts = {1}
    return sorted({padded(min(count * layout.sources, most), most) for count in counts})


def _divided(
    new: Sequence[tuple[int, Item]], largest: int, length: Callable[[Item], int] | None
) -> list[Sequence[tuple[int, Item]]]:
    """Divide the inputs of a stream into those that share a call, the short ones first."""
    if length is None:
        return [new] if len(new) <= largest else list(_split(new, largest))
    by_length: dict[int, list[tuple[int, Item]]] = {}
    for one in new:
        by_length.setdefault(length(one[1]), []).append(one)
    return [piece for size in sorted(by_length) for piece in _split(by_length[size], largest)]


def _split(items: Sequence[Element], most: int) -> Iterator[Sequence[Element]]:
    for at in range(0, len(items), most):
        yield items[at : at + most]
