"""What the head reads: the outputs of encoders put together to windows, and windows put together to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from taemi_edge.bundle.streams import ChunkedSpec, StreamSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.chunks import kept_steps
from taemi_edge.parity.golden import Runner, WindowCalls

#: Features by stream, float32 (T, D) each; T is 0, or the stream is not there, where it is missing.
Features = Mapping[str, Array]


def window_features(run: Runner, calls: WindowCalls, streams: Mapping[str, StreamSpec]) -> dict[str, Array]:
    """Encode the inputs of one window.

    Args:
        run: runs the encoders.
        calls: what each encoder is fed.
        streams: the model's streams.

    Returns:
        The features of each stream, float32 (T, D); T is at most its `max_steps`: the newest.
    """
    return {
        name: encode_calls(run, name, streams[name], feeds)[-streams[name].max_steps :] for name, feeds in calls.items()
    }


def encode_calls(run: Runner, stream: str, spec: StreamSpec, calls: Sequence[Mapping[str, Array]]) -> Array:
    """Run an encoder on its calls, and put its steps one after the other as the runtime does.

    Args:
        run: runs the encoder.
        stream: its name.
        spec: what the stream is.
        calls: the feeds of each call, in the order of time; at least one.

    Returns:
        The features, float32 (T, D), without those of a chunk's context.
    """
    steps = [joined_steps(spec, feeds, run(stream, feeds)["features"]) for feeds in calls]
    return np.concatenate(steps)


def joined_steps(spec: StreamSpec, feeds: Mapping[str, Array], features: Array) -> Array:
    """The steps of one call of an encoder, one after the other, float32 (T, D); those of context are left out.

    Args:
        spec: what the stream is.
        feeds: what the encoder was fed, rows in the order of time.
        features: what it gave, (rows, D) or (rows, steps, D).
    """
    by_row = features[:, None] if features.ndim == 2 else features
    if isinstance(spec, ChunkedSpec) and spec.chunk_samples:
        length = next(iter(feeds.values())).shape[1]
        by_row = by_row[:, -kept_steps(spec.chunk_samples, length, by_row.shape[1]) :]
    return by_row.reshape(-1, features.shape[-1])


def head_feeds(features: Features, masks: bool) -> dict[str, Array]:
    """The feeds of the head for one window of features, (T, D) by stream.

    Args:
        features: of every stream.
        masks: whether the head takes masks.
    """
    return padded_batch([features], masks)


def padded_batch(rows: Sequence[Features], masks: bool) -> dict[str, Array]:
    """The feeds of the head for several windows; the steps after the end of a row are zeros that the mask hides.

    Args:
        rows: the features of each window, (T, D) for every stream; without masks, of equal lengths in all windows.
        masks: whether the head takes masks.

    Example:
        >>> rows = [{"imu": np.ones((2, 4))}, {"imu": np.ones((1, 4))}]
        >>> padded_batch(rows, masks=True)["imu_mask"].tolist()
        [[1, 1], [1, 0]]
    """
    feeds: dict[str, Array] = {}
    for name in rows[0]:
        lengths = [len(row[name]) for row in rows]
        if not masks and len(set(lengths)) > 1:
            raise ValueError(f"{name}: a head without masks takes rows of equal lengths, got {lengths}")
        values = np.zeros((len(rows), max(lengths), rows[0][name].shape[1]), np.float32)
        mask = np.zeros(values.shape[:2], np.int32)
        for row, length in enumerate(lengths):
            values[row, :length] = rows[row][name]
            mask[row, :length] = 1
        feeds[name] = values
        if masks:
            feeds[f"{name}_mask"] = mask
    return feeds


def batch_with_stand_ins(
    windows: Sequence[Features], tokens: Mapping[str, Array], streams: Mapping[str, StreamSpec]
) -> dict[str, Array]:
    """The feeds of a head with masks for windows that lack different streams, whose stand-ins take their places.

    Args:
        windows: the features of each, (T, D) by stream; a stream that is missing is left out.
        tokens: what stands for each missing stream, (D,) or (steps, D).
        streams: the model's streams.
    """
    complete = [{n: window[n] if n in window else np.atleast_2d(tokens[n]) for n in streams} for window in windows]
    feeds = padded_batch(complete, masks=True)
    for name, spec in streams.items():
        lacking = [name not in window for window in windows]
        feeds[f"{name}_mask"][lacking] *= spec.missing.mask
    return feeds


def growing_rows(features: Features, count: int) -> list[dict[str, Array]]:
    """Make rows of growing length from the newest steps of one long window, up to half of it.

    Args:
        features: (T, D) by stream.
        count: how many rows.
    """
    return [
        {name: values[-max(1, len(values) * (row + 1) // (2 * count)) :] for name, values in features.items()}
        for row in range(count)
    ]
