"""The GPU that engines were built for, and others."""

from __future__ import annotations

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import EngineError
from taemi_edge.runtime.tensorrt.gpu import open_gpu


def test_engines_of_another_gpu_are_refused(engines: Bundle):
    record = engines.manifest.engine
    other = msgspec.structs.replace(record, machine={**record.machine, "gpu": "Orin"})
    bundle = Bundle(engines.folder, msgspec.structs.replace(engines.manifest, engine=other), engines.tokens)
    with pytest.raises(
        EngineError, match=r"was built for tensorrt .* on Orin \(.*, found .* on stand-in \(.*--rebuild"
    ):
        open_gpu(bundle)


def test_a_bundle_of_graphs_is_no_bundle_of_engines(tiny: Bundle, device):
    with pytest.raises(EngineError, match="expected engines of `taemi-edge build-engine`"):
        open_gpu(tiny)
