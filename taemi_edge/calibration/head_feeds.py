"""What the head of any model is fed: the features of one clip, and what stands for the streams that are missing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import Array


def streams_in(bundle: Bundle, features: Mapping[str, Array]) -> Pattern:
    """Give the streams that features are there of, as many steps as the head takes at least."""
    streams = bundle.manifest.streams
    return frozenset(name for name, spec in streams.items() if len(features[name]) >= max(1, spec.min_steps))


def head_feeds(bundle: Bundle, features: Mapping[str, Array], pattern: Pattern) -> dict[str, Array]:
    """Give the feeds of the head for one clip.

    Args:
        bundle: says what stands for a missing stream, and whether the head takes masks.
        features: by stream, (T, D); T is 0 where the clip lacks the stream. The newest `max_steps` of them count.
        pattern: the streams that are used. What stands for a missing stream is bound for the others, and for those
            that the clip lacks.

    Returns:
        Each stream float32 (1, T, D) and, for heads with masks, its mask int32 (1, T).
    """
    live = pattern & streams_in(bundle, features)
    feeds: dict[str, Array] = {}
    for name, spec in bundle.manifest.streams.items():
        values = features[name][-spec.max_steps :] if name in live else bundle.tokens[name]
        feeds[name] = np.ascontiguousarray(values[None], np.float32)
        if bundle.manifest.head.masks:
            shown = 1 if name in live else spec.missing.mask
            feeds[f"{name}_mask"] = np.full(feeds[name].shape[:2], shown, np.int32)
    return feeds


def fed_patterns(bundle: Bundle, number: int, came: Pattern) -> list[Pattern]:
    """Give the presence patterns in which the head is fed a clip: its own, and one with streams taken away.

    Args:
        bundle: its manifest lists the patterns of the model.
        number: of the clip; it decides which streams are taken away.
        came: the streams that the clip has.
    """
    patterns = bundle.manifest.patterns
    return list(dict.fromkeys((came, came & patterns[number % len(patterns)])))
