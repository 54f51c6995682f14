"""The contender ONNX Runtime."""

from __future__ import annotations

from contextlib import closing

import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.onnxruntime_model import OnnxRuntimeModel
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import UsageError
from tests.bench.checks import require_pytorchs_parts, require_pytorchs_windows


def open_it(bundle: Bundle) -> OnnxRuntimeModel:
    return OnnxRuntimeModel(bundle, "cpu", "fp32", 1)


@pytest.mark.parametrize("kind", ["hop", "window"])
def test_a_window_gives_what_pytorch_gave(tiny: Bundle, kind):
    require_pytorchs_windows(open_it(tiny), tiny, kind)


def test_a_part_gives_what_pytorch_gave(tiny: Bundle):
    require_pytorchs_parts(open_it(tiny), tiny)


def test_several_sources_in_one_call_are_refused(tiny: Bundle):
    with closing(open_it(tiny)) as model, pytest.raises(UsageError, match="one by one"):
        model.window("hop", Feeds(tiny).window(), tiny.manifest.patterns[0], 2)


def test_a_flavour_that_the_bundle_lacks_is_named(tiny: Bundle):
    with pytest.raises(UsageError, match="has no int8 graph of vision"):
        OnnxRuntimeModel(tiny, "cpu", "int8", 1)
