"""The contender PyTorch."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is the contender")

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.torch_model import TorchModel
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PARTS, PRESENCE_PATTERNS
from taemi_edge.bundle.streams import pattern_name
from taemi_edge.errors import UsageError
from taemi_edge.taemi.checkpoint import open_checkpoint


def open_it(_: Bundle) -> TorchModel:
    return TorchModel(open_checkpoint("taemi-tiny"), "cpu", "fp32", compiled=False, threads=1)


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


def test_several_sources_in_one_call_are_refused(tiny: Bundle):
    with closing(open_it(tiny)) as model, pytest.raises(UsageError, match="one by one"):
        model.window("hop", Feeds(tiny).window(), PRESENCE_PATTERNS[0], 2)
