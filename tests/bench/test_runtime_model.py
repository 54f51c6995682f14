"""The bundle itself as a contender."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_model import RuntimeModel
from taemi_edge.bundle.folder import Bundle
from tests.bench.checks import require_pytorchs_parts, require_pytorchs_windows


def open_it(bundle: Bundle) -> RuntimeModel:
    return RuntimeModel(bundle, "cpu", 1)


@pytest.mark.parametrize("kind", ["hop", "window"])
def test_a_window_gives_what_pytorch_gave(tiny: Bundle, kind):
    require_pytorchs_windows(open_it(tiny), tiny, kind)


def test_a_part_gives_what_pytorch_gave(tiny: Bundle):
    require_pytorchs_parts(open_it(tiny), tiny)


def test_several_sources_share_a_call(tiny: Bundle):
    window = Feeds(tiny).window()
    with closing(open_it(tiny)) as model:
        run = model.window("hop", window, tiny.manifest.patterns[0], 3)
        run.run()
        run.run()
        expected = np.tile(window.expected[tiny.manifest.pattern_name(tiny.manifest.patterns[0])], (3, 1))
        assert np.abs(run.output() - expected).max() < 1e-4
        assert run.parts_ms().keys() == set(tiny.manifest.part_names)
