"""Buffers of the executor, and the sizes that they have."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.tensorrt.buffers import Features


def test_several_sources_have_a_row_for_the_token_each(gpu, opened, engines: Bundle):
    layout, features = opened[1], Features(gpu, engines.tokens, opened[1])
    for m in layout.streams:
        assert layout.ring_rows(m) == layout.capacity[m] + 1
        for source in range(2):
            ring = features.read(source, m)
            np.testing.assert_array_equal(ring[-1:], engines.tokens[m].astype(np.float32))
            assert not ring[:-1].any()
