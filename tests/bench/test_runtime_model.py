"""The bundle itself as a contender."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.runtime_model import RuntimeModel
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PARTS, PRESENCE_PATTERNS
from taemi_edge.bundle.streams import pattern_name


def open_it(bundle: Bundle) -> RuntimeModel:
    return RuntimeModel(bundle, "cpu", 1)


@pytest.mark.parametrize("kind", ["hop", "window"])
@pytest.mark.parametrize("pattern", PRESENCE_PATTERNS, ids=pattern_name)
def test_a_window_gives_what_pytorch_gave(tiny: Bundle, kind, pattern):
    window = Feeds(tiny).window()
    with closing(open_it(tiny)) as model, closing(model.window(kind, window, pattern, 1)) as run:
        run.run()
        assert np.abs(run.output() - window.expected[pattern_name(pattern)]).max() < 1e-4


@pytest.mark.parametrize("part", PARTS)
def test_a_part_gives_what_pytorch_gave(tiny: Bundle, part):
    feeds, expected = Feeds(tiny).part(part, 2)
    with closing(open_it(tiny)) as model, closing(model.part(part, feeds)) as run:
        run.run()
        assert np.abs(run.output() - expected).max() < 1e-4


def test_several_sources_share_a_call(tiny: Bundle):
    window = Feeds(tiny).window()
    with closing(open_it(tiny)) as model:
        run = model.window("hop", window, PRESENCE_PATTERNS[0], 3)
        run.run()
        run.run()
        expected = np.tile(window.expected[pattern_name(PRESENCE_PATTERNS[0])], (3, 1))
        assert np.abs(run.output() - expected).max() < 1e-4
        assert run.parts_ms().keys() == set(PARTS)
