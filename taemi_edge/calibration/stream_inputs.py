"""What the encoders take of one clip, for streams of any kind: from media as the runtime reads them, or from samples.

Every other module of calibration sees a clip as `StreamInputs` by the name of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, ChunkedSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import MAX_BATCH, kept_steps

#: The feeds of an encoder: arrays with a batch axis by the names of its inputs.
Feeds = dict[str, Array]
#: Runs an encoder once.
EncoderRunner = Callable[[Mapping[str, Array]], Mapping[str, Array]]

_INPUT_OF: dict[type[StreamSpec], str] = {
    VideoSpec: "pixels",
    AudioSpec: "samples",
    TextSpec: "ids",
    SeriesSpec: "values",
}


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


def sample_inputs(spec: StreamSpec, arrays: Mapping[str, Array]) -> StreamInputs:
    """Turn what a sample holds of one stream into feeds.

    Args:
        spec: of the stream.
        arrays: by the name of the encoder's input, without a batch axis. Pictures (H, W, 3), clips of pictures and rows
            of a series without a rate may come alone, or as several with one more axis in front. Sound and series with
            a rate are cut into chunks, each with its context, as the runtime does.

    Raises:
        ValueError: an input is missing, or has another rank than such an input has.
    """
    name = _INPUT_OF[type(spec)]
    if name not in arrays:
        raise ValueError(f"expected {name}, got {', '.join(arrays) or 'nothing'}")
    values = np.asarray(arrays[name])
    if isinstance(spec, TextSpec):
        _require_rank(name, values, 1)
        ids = values.astype(np.int32)[None]
        mask = np.asarray(arrays.get("mask", np.ones(ids.shape[1])), np.int32).reshape(ids.shape)
        return StreamInputs([{"ids": ids[:, -spec.max_tokens :], "mask": mask[:, -spec.max_tokens :]}])
    if isinstance(spec, ChunkedSpec) and not is_thinned(spec):
        _require_rank(name, values, 1 if isinstance(spec, AudioSpec) else 2)
        return StreamInputs([{name: batch} for batch in _chunks(spec, values.astype(np.float32))])
    rank = (3 if spec.clip_frames == 1 else 4) if isinstance(spec, VideoSpec) else 1
    items = values[None] if values.ndim == rank else values
    _require_rank(name, items, rank + 1)
    dtype = np.uint8 if isinstance(spec, VideoSpec) else np.float32
    return StreamInputs([{name: np.ascontiguousarray(items, dtype)}] if len(items) else [])


def _require_rank(name: str, values: Array, rank: int) -> None:
    if values.ndim != rank:
        raise ValueError(f"expected {name} with {rank} axes, got {values.shape}")


def _chunks(spec: ChunkedSpec, values: Array) -> Iterator[Array]:
    """Batches of chunks of equal length, each with its context; what is shorter than a chunk is one short chunk."""
    chunk, context = spec.chunk_samples, spec.context_samples
    if 0 < len(values) < chunk:
        yield values[None]
        return
    pieces = [
        values[start - context if start >= context else start : start + chunk]
        for start in range(0, len(values) - chunk + 1, chunk)
    ]
    at = 0
    while at < len(pieces):
        batch = [p for p in pieces[at : at + MAX_BATCH] if len(p) == len(pieces[at])]
        yield np.stack(batch)
        at += len(batch)


def encode_stream(run: EncoderRunner, spec: StreamSpec, feeds: list[Feeds]) -> Array:
    """Run an encoder on its stream of a clip, in the chunks and batches of the runtime.

    Args:
        run: runs the encoder.
        spec: of the stream.
        feeds: one batch after the other.

    Returns:
        The features of all feeds one after the other, float32 (T, D); T is 0 without feeds.
    """
    found: list[Array] = []
    for batch in batches(feeds, MAX_BATCH):
        features = run(batch)["features"]
        if features.ndim == 2:
            found.append(features)
        elif isinstance(spec, ChunkedSpec) and not is_thinned(spec):
            steps = kept_steps(spec.chunk_samples, _length(batch), features.shape[1])
            found += list(features[:, -steps:])
        else:
            found += list(features)
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


def _length(batch: Feeds) -> int:
    return int(next(iter(batch.values())).shape[1])
