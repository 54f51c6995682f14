"""The names of TAEMI's streams, parts and outputs, as its paper has them. No room but this one depends on them."""

from __future__ import annotations

from itertools import compress, product
from typing import TypeAlias

from taemi_edge.bundle.streams import Pattern, pattern_name
from taemi_edge.bundle.values import HEAD

#: The paper calls its streams modalities.
Modality: TypeAlias = str

MODALITIES = ("vision", "audio", "text")
PARTS = (*MODALITIES, HEAD)
#: The one output, and what its six values are.
INTENSITIES = "intensities"
EMOTIONS = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")
#: All sets of live streams, the complete one first, in the order of `presence_patterns`.
PRESENCE_PATTERNS: tuple[Pattern, ...] = tuple(
    frozenset(compress(MODALITIES, live)) for live in product((True, False), repeat=len(MODALITIES))
)
PATTERN_NAMES = tuple(pattern_name(pattern, MODALITIES) for pattern in PRESENCE_PATTERNS)
