"""The contender PyTorch."""

from __future__ import annotations

from contextlib import closing

import pytest

pytest.importorskip("torch", reason="PyTorch is the contender")

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.torch_model import TorchModel
from taemi_edge.bench.torch_parts import checkpoint_parts
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import UsageError
from tests.bench.checks import require_pytorchs_parts, require_pytorchs_windows


def open_it(bundle: Bundle) -> TorchModel:
    parts = checkpoint_parts("taemi-tiny", False, bundle.manifest, "fp32")
    return TorchModel(parts, bundle, "cpu", compiled=False, threads=1)


@pytest.mark.parametrize("kind", ["hop", "window"])
def test_a_window_gives_what_pytorch_gave(tiny: Bundle, kind):
    require_pytorchs_windows(open_it(tiny), tiny, kind)


def test_a_part_gives_what_pytorch_gave(tiny: Bundle):
    require_pytorchs_parts(open_it(tiny), tiny)


def test_several_sources_in_one_call_are_refused(tiny: Bundle):
    with closing(open_it(tiny)) as model, pytest.raises(UsageError, match="one by one"):
        model.window("hop", Feeds(tiny).window(), tiny.manifest.patterns[0], 2)
