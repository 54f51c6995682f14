"""What the encoders take of one clip, for streams of any kind: all of it, or as much as statistics need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from taemi_edge.bundle.streams import SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.parity.windows import joined_steps

#: The feeds of an encoder: arrays with a batch axis by the names of its inputs.
Feeds = dict[str, Array]
#: Runs an encoder once.
EncoderRunner = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class StreamInputs:
    """The inputs of one stream of a clip; without arguments, those of a stream that the clip lacks.

    Attributes:
        feeds: for its encoder, one batch after the other; the features of all of them are the clip's.
        further: feeds that its encoder meets while a clip runs but whose features are not the clip's, such as the
            first of many words.
    """

    feeds: list[Feeds] = field(default_factory=list)
    further: list[Feeds] = field(default_factory=list)


def is_thinned(spec: StreamSpec) -> bool:
    """Whether few items of a stream tell as much as all: its pictures or rows are encoded one by one."""
    return isinstance(spec, VideoSpec) or (isinstance(spec, SeriesSpec) and not spec.rate_hz)


def encode_stream(run: EncoderRunner, spec: StreamSpec, feeds: list[Feeds]) -> Array:
    """Run an encoder on its stream of a clip, in the chunks and batches of the runtime.

    Args:
        run: runs the encoder.
        spec: of the stream.
        feeds: one batch after the other.

    Returns:
        The features of all feeds one after the other, float32 (T, D); T is 0 without feeds.
    """
    found = [joined_steps(spec, batch, run(batch)["features"]) for batch in batches(feeds, MAX_BATCH)]
    return np.concatenate(found) if found else np.zeros((0, spec.feature_dim), np.float32)


def statistics_feeds(spec: StreamSpec, inputs: StreamInputs, items: int, batch: int) -> Iterator[Feeds]:
    """Give the feeds that an encoder's statistics are collected on.

    Args:
        spec: of the stream.
        inputs: of one clip.
        items: how many pictures or rows count where they are encoded one by one, evenly over the clip.
        batch: how many pictures, rows or chunks run at a time.
    """
    if is_thinned(spec):
        thin, _ = thin_items(inputs, items)
        yield from batches(thin.feeds, batch)
    elif isinstance(spec, TextSpec):
        yield from (*inputs.further, *inputs.feeds)
    else:
        yield from batches(inputs.feeds, batch)


def thin_items(inputs: StreamInputs, items: int) -> tuple[StreamInputs, Array | None]:
    """Give the inputs with at most `items` pictures or rows, taken evenly, and which were taken; None for all."""
    if not inputs.feeds:
        return inputs, None
    joined = {name: _joined([feeds[name] for feeds in inputs.feeds]) for name in inputs.feeds[0]}
    count = len(next(iter(joined.values())))
    if count <= items:
        return StreamInputs([joined], inputs.further), None
    chosen: Array = np.linspace(0, count - 1, items).astype(int)
    return StreamInputs([{name: values[chosen] for name, values in joined.items()}], inputs.further), chosen


def batches(feeds: list[Feeds], batch: int) -> Iterator[Feeds]:
    """Cut feeds into such of at most `batch` rows."""
    for each in feeds:
        for at in range(0, len(next(iter(each.values()))), batch):
            yield {name: values[at : at + batch] for name, values in each.items()}


def _joined(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
