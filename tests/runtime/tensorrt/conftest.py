"""Engines open on the stand-in for a GPU, for tests of the executor's pieces."""

from __future__ import annotations

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.tensorrt.engine import open_engine
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.layout import layout_on_device
from taemi_edge.runtime.work import Layout


@pytest.fixture(scope="module")
def gpu(engines: Bundle):
    with open_gpu(engines) as opened:
        yield opened


@pytest.fixture(scope="module")
def opened(gpu, engines: Bundle):
    """The engines by part, and the sizes for two sources."""
    by_part = {part: open_engine(gpu, engines, part) for part in engines.manifest.part_names}
    return by_part, layout_on_device(engines.manifest, Layout(2, 4.0, 0.5), by_part)
