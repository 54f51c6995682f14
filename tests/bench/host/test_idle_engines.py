"""Idle engines give outputs of the shapes that the graphs give, at any batch."""

from __future__ import annotations

import numpy as np

from taemi_edge.bench.host.idle_engines import ShapesOfGraphs
from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.opening import open_sessions


def test_shapes_are_those_of_the_graphs(tiny: Bundle):
    shapes_of = ShapesOfGraphs(tiny)
    sizes = {"samples": 16_000, "tokens": 7}
    with open_sessions(tiny, "cpu", 1) as sessions:
        for part, spec in tiny.manifest.parts.items():
            inputs = {
                t.name: (3, *(sizes.get(n, 4) if isinstance(n, str) else n for n in t.shape[1:])) for t in spec.inputs
            }
            feeds = {t.name: np.ones(inputs[t.name], t.dtype) for t in spec.inputs}
            found = {name: values.shape for name, values in sessions[part].run(feeds).items()}
            assert shapes_of(part, inputs) == found
