"""Real values that a part is traced and tested with, from a model's samples.

Made-up values miss what people's networks do: ids of one hit a single row of an embedding, and a logarithm of a wave
that is negative is no number. An input whose samples are all one value tells nothing, and is left to be made up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.parity.samples import Row, calls_of


def feeds_of_rows(rows: Sequence[Row]) -> dict[str, Array]:
    """Real inputs of an encoder, the batch first: its rows of one shape, or, of texts, the ids one after another.

    Args:
        rows: the first rows of the encoder's batch.

    Example:
        >>> texts = [{"ids": np.array([5, 6, 7]), "mask": np.ones(3)}, {"ids": np.array([8]), "mask": np.ones(1)}]
        >>> feeds_of_rows(texts)["ids"].tolist()
        [[5, 6, 7, 8], [7, 8, 5, 6]]
    """
    if "ids" in rows[0]:
        return _telling({"ids": _turned(np.concatenate([row["ids"] for row in rows]))})
    return _telling(max(calls_of(rows), key=lambda call: len(next(iter(call.values())))))


def feeds_of_features(features: dict[str, Array]) -> dict[str, Array]:
    """Real inputs of the head, float32 (2, n, D), from the features (n, D) of each stream.

    Example:
        >>> feeds_of_features({"imu": np.arange(6.0).reshape(3, 2)})["imu"].shape
        (2, 3, 2)
    """
    return _telling({name: _turned(values) for name, values in features.items()})


def _turned(values: Array) -> Array:
    """Two rows: the values, and the values from their middle on."""
    return np.stack([values, np.roll(values, -(len(values) // 2), axis=0)])


def _telling(feeds: dict[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in feeds.items() if value.min() != value.max()}
