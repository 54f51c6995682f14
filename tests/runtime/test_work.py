"""What the runtime hands to an executor."""

from __future__ import annotations

import numpy as np

from taemi_edge.runtime.work import pad_texts


def test_texts_are_padded_to_the_longest():
    feeds = pad_texts([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert feeds["ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert feeds["mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
