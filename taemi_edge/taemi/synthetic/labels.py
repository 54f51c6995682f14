"""Drawing labels as sparse as those of the real data set, for synthetic features and synthetic clips alike."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.taemi.names import EMOTIONS

#: How often an emotion is active; it then has one of three levels.
ACTIVE_SHARE, LEVELS = 0.35, 3
_MEAN = 0.233
_STD = 0.356


def draw_labels(rng: np.random.Generator, count: int) -> Array:
    """Draw intensities in {0, 1/3, 2/3, 1}, float64 (count, 6); at least one of each clip is above 0.

    Example:
        >>> bool((draw_labels(np.random.default_rng(0), 5).max(axis=1) > 0).all())
        True
    """
    active = rng.random((count, len(EMOTIONS))) < ACTIVE_SHARE
    spare = rng.integers(len(EMOTIONS), size=count)
    bare = ~active.any(1)
    active[bare, spare[bare]] = True
    labels: Array = np.where(active, rng.integers(1, LEVELS + 1, active.shape) / LEVELS, 0.0)
    return labels


def standardise(labels: Array) -> Array:
    """Scale labels to about zero mean and unit variance; noise is measured in this unit."""
    return (labels - _MEAN) / _STD
