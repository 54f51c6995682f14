"""What is asked of every contender: the answers of PyTorch."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from taemi_edge.bench.feeds import Feeds, WindowKind
from taemi_edge.bench.timed_model import TimedModel
from taemi_edge.bundle.folder import Bundle


def require_pytorchs_windows(contender: TimedModel, bundle: Bundle, kind: WindowKind) -> None:
    """In every presence pattern the contender gives what PyTorch gave; it is closed afterwards."""
    window = Feeds(bundle).window()
    with closing(contender) as model:
        for pattern in bundle.manifest.patterns:
            with closing(model.window(kind, window, pattern, 1)) as run:
                run.run()
                expected = window.expected[bundle.manifest.pattern_name(pattern)]
                assert np.abs(run.output() - expected).max() < 1e-4, pattern


def require_pytorchs_parts(contender: TimedModel, bundle: Bundle) -> None:
    """Each part, for two inputs at once, gives what PyTorch gave; the contender is closed afterwards."""
    with closing(contender) as model:
        for part in bundle.manifest.part_names:
            feeds, expected = Feeds(bundle).part(part, 2)
            with closing(model.part(part, feeds)) as run:
                run.run()
                assert np.abs(run.output() - expected).max() < 1e-4, part
