"""Arrays that both host and GPU reach."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.staging import Packed, Staged


@pytest.mark.parametrize("mapped", [False, True])
def test_packed_arrays_reach_the_gpu_together(engines: Bundle, mapped: bool):
    with open_gpu(engines) as gpu:
        packed = Packed(gpu, {"a": (3,), "b": (2, 2)}, mapped)
        packed.host["a"][:], packed.host["b"][:] = 1, 2
        packed.upload(gpu.stream)
        found = Staged(gpu, (4,), np.int32, mapped=False)
        gpu.cuda.memcpy_dtoh(found.host, packed.address["b"])
        assert found.host.tolist() == [2, 2, 2, 2]
        assert packed.address["b"] % 256 == 0
