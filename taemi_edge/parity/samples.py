"""Samples of a model: named arrays of one window, and what the encoders are fed for them.

A sample is a mapping from "STREAM/INPUT" to an array without a batch axis; a stream that is left out is missing.
"label/OUTPUT" holds what is true of an output. `encoder_calls` cuts a stream of a sample as the runtime cuts a live
stream: sound and series into chunks with their context, pictures into clips, rows of numbers one by one.

| kind | array | what it is |
|---|---|---|
| video | NAME/pixels uint8 (H, W, 3) or (N, H, W, 3) | one picture or N |
| audio | NAME/samples float32 (samples,) | sound at the stream's rate; less than a chunk is a missing stream |
| text | NAME/ids int32 (tokens,), NAME/mask where it is not all ones; or NAME/words, a text | |
| series | NAME/values float32 (channels,) or (N, channels) | one row or N at the stream's rate |

Any of them may have one more axis in front: then they are what the encoder takes, cut already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, ChunkedSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError
from taemi_edge.media.chunks import MAX_BATCH, Chunker
from taemi_edge.media.tokens import WordTokenizer

#: "STREAM/INPUT" to an array without a batch axis, and "label/OUTPUT" to what is true.
Sample = Mapping[str, Any]
#: One row of an encoder's batch: its inputs by name.
Row = dict[str, Array]

#: What stands before the name of an output in a sample. No stream can be called so in a sample.
LABEL = "label"
#: The text of a stream of text, in place of its ids.
WORDS = "words"


def input_name(spec: StreamSpec) -> str:
    """The first input of the encoder of a stream, by the stream's kind."""
    if isinstance(spec, VideoSpec):
        return "pixels"
    if isinstance(spec, AudioSpec):
        return "samples"
    return "ids" if isinstance(spec, TextSpec) else "values"


def require_known_names(
    sample: Sample, streams: Mapping[str, StreamSpec], outputs: Iterable[str] | None, where: str
) -> None:
    """Refuse a sample with arrays that belong to no stream and no output.

    Args:
        sample: to check.
        streams: the model's streams.
        outputs: the model's outputs; None where they are not known yet.
        where: what messages call the sample.

    Raises:
        InputError: a name is unknown, or a stream that is required is missing.
    """
    known = set()
    for name, spec in streams.items():
        known |= {f"{name}/{input_name(spec)}"} | (
            {f"{name}/mask", f"{name}/{WORDS}"} if isinstance(spec, TextSpec) else set()
        )
        if spec.required and not has_stream(sample, name):
            raise InputError(f"{where}: expected {name}/{input_name(spec)}, because {name} is required, found none")
    labels = {f"{LABEL}/{name}" for name in outputs} if outputs is not None else {n for n in sample if _is_label(n)}
    if unknown := sorted(set(sample) - known - labels):
        raise InputError(f"{where}: expected names among {', '.join(sorted(known | labels))}, got {unknown[0]!r}")


def has_stream(sample: Sample, stream: str) -> bool:
    """Whether a sample has the data of a stream."""
    return any(name.startswith(f"{stream}/") for name in sample) and stream != LABEL


def encoder_rows(
    stream: str, spec: StreamSpec, sample: Sample, tokenizer: WordTokenizer | None, where: str = "samples"
) -> list[Row]:
    """Cut the data of a stream into the rows that its encoder takes, in the order of time.

    Args:
        stream: its name.
        spec: what it is.
        sample: the arrays of one window.
        tokenizer: of a stream of text whose sample has words; None where it is not needed.
        where: what messages call the sample.

    Returns:
        The inputs of each row by name, without a batch axis; nothing where the stream is missing.

    Raises:
        InputError: an array has another shape, type or size than the stream, holds NaN, or holds less than a chunk of a
            stream that is required.
    """
    if not has_stream(sample, stream):
        return []
    name = input_name(spec)
    if isinstance(spec, TextSpec):
        return _text_row(stream, spec, sample, tokenizer, where)
    key = f"{stream}/{name}"
    if key not in sample:
        raise InputError(f"{where}: expected {key}, got {', '.join(n for n in sample if n.startswith(f'{stream}/'))}")
    if isinstance(spec, VideoSpec):
        values = _pictures(key, spec, np.asarray(sample[key]), where)
    else:
        values = _numbers(key, spec, np.asarray(sample[key]), where)
    return [{name: np.ascontiguousarray(value)} for value in values]


def tokenizers_of(streams: Mapping[str, StreamSpec], tokenizers: Mapping[str, str]) -> dict[str, WordTokenizer]:
    """The tokenizer of each stream of text that has one, from the text of its tokenizer.json."""
    return {
        name: WordTokenizer(tokenizers[name], spec.max_tokens)
        for name, spec in streams.items()
        if isinstance(spec, TextSpec) and name in tokenizers
    }


def calls_of(rows: Sequence[Row], max_rows: int = MAX_BATCH) -> list[dict[str, Array]]:
    """Put rows of equal shapes that follow each other into batches.

    Args:
        rows: in the order of time.
        max_rows: the largest batch.

    Example:
        >>> rows = [{"samples": np.zeros(n)} for n in (4, 8, 8)]
        >>> [call["samples"].shape for call in calls_of(rows)]
        [(1, 4), (2, 8)]
    """
    groups: list[list[Row]] = []
    for row in rows:
        if groups and len(groups[-1]) < max_rows and row_shape(groups[-1][0]) == row_shape(row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return [stacked(group) for group in groups]


def stacked(rows: Sequence[Row]) -> dict[str, Array]:
    """Put rows of equal shapes into one batch."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def padded_texts(rows: Sequence[Row]) -> dict[str, Array]:
    """Put texts into one batch, padded with 0 to the longest."""
    longest = max(len(row["ids"]) for row in rows)
    return {name: np.stack([np.pad(row[name], (0, longest - len(row[name]))) for row in rows]) for name in rows[0]}


def row_shape(row: Row) -> tuple[tuple[int, ...], ...]:
    """The shapes of a row's inputs, by which rows can share a batch."""
    return tuple(value.shape for value in row.values())


def _pictures(key: str, spec: VideoSpec, pixels: Array, where: str) -> list[Array]:
    """Pictures one by one, or the clips that end with each picture."""
    clip = (spec.clip_frames,) if spec.clip_frames > 1 else ()
    picture = (*spec.size_hw, 3)
    whole = (*clip, *picture)
    if pixels.dtype.kind in "iu" and pixels.size and 0 <= pixels.min() <= pixels.max() <= 255:
        pixels = pixels.astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.shape[-3:] != picture or not 0 <= pixels.ndim - 3 <= 1 + len(clip):
        raise _wrong(where, key, f"uint8 ([N, ]{', '.join(map(str, picture))})", pixels)
    if pixels.ndim == len(whole) + 1 and pixels.shape[1:] == whole:
        return list(pixels)
    pictures = pixels.reshape(-1, *picture)
    if not clip:
        return list(pictures)
    if len(pictures) < spec.clip_frames:
        raise InputError(f"{where}: {key}: expected at least {spec.clip_frames} pictures, got {len(pictures)}")
    return [pictures[end - spec.clip_frames : end] for end in range(spec.clip_frames, len(pictures) + 1)]


def _numbers(key: str, spec: StreamSpec, values: Array, where: str) -> list[Array]:
    """Rows of numbers one by one, or chunks of sound or of a series with the context before them."""
    channels = (spec.channels,) if isinstance(spec, SeriesSpec) else ()
    chunked = isinstance(spec, ChunkedSpec) and spec.chunk_samples > 0
    least = len(channels) + chunked
    fits = values.dtype.kind in "fiu" and values.ndim in (least, least + 1) and values.size > 0
    if not fits or (channels and values.shape[-1:] != channels):
        shape = ", ".join(map(str, ("N",) * chunked + channels))
        raise _wrong(where, key, f"float32 ({shape})" + ("" if chunked else f" or (N, {shape})"), values)
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{where}: {key}: expected finite numbers, got NaN or infinity")
    if values.ndim == least + 1:
        return list(values)
    return _chunks(key, spec, values, where) if chunked and isinstance(spec, ChunkedSpec) else [values]


def _chunks(key: str, spec: ChunkedSpec, values: Array, where: str) -> list[Array]:
    """The chunks as the runtime cuts them, each with its context where that came completely; none of too short a one.

    Raises:
        InputError: the stream is required, and there is less than a chunk of it.
    """
    chunker = Chunker(spec, channels=spec.channels if isinstance(spec, SeriesSpec) else None)
    chunker.push_at(0, values)
    until_s = math.ceil(len(values) / spec.chunk_samples) * spec.chunk_samples / spec.values_per_second
    chunks = [segment.samples for segment in chunker.take(until_s)]
    if spec.required and not chunks:
        raise InputError(
            f"{where}: {key}: expected at least a chunk of {spec.chunk_samples} values ({spec.chunk_s:g} s), because "
            f"the stream is required, got {len(values)}"
        )
    return chunks


def _text_row(stream: str, spec: TextSpec, sample: Sample, tokenizer: WordTokenizer | None, where: str) -> list[Row]:
    if f"{stream}/{WORDS}" in sample:
        words = str(np.asarray(sample[f"{stream}/{WORDS}"])[()]).strip()
        if not words:
            return []
        if tokenizer is None:
            raise InputError(
                f"{where}: {stream}/{WORDS}: expected a tokenizer of {stream}, found none: give {stream}/ids"
            )
        return [{name: value[0] for name, value in tokenizer.feeds([words]).items()}]
    ids = np.asarray(sample.get(f"{stream}/ids", np.zeros((0, 0))))
    mask = np.asarray(sample.get(f"{stream}/mask", np.ones(ids.shape)))
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or mask.shape != ids.shape:
        raise _wrong(where, f"{stream}/ids", "int32 (tokens,), and a mask of the same shape where there is one", ids)
    if len(ids) > spec.max_tokens:
        raise InputError(f"{where}: {stream}/ids: expected at most {spec.max_tokens} tokens, got {len(ids)}")
    kept = mask > 0
    return [{"ids": ids[kept].astype(np.int32), "mask": np.ones(kept.sum(), np.int32)}] if kept.any() else []


def _is_label(name: str) -> bool:
    return name.partition("/")[0] == LABEL


def _wrong(where: str, key: str, expected: str, got: Array) -> InputError:
    return InputError(f"{where}: {key}: expected {expected}, got {got.dtype} ({', '.join(map(str, got.shape))})")
