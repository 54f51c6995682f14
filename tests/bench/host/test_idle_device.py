"""The idle libraries take every call, known or not, and leave when they are no longer needed."""

from __future__ import annotations

import importlib
import sys

import numpy as np

from taemi_edge.bench.host.idle_device import idle_device


def test_calls_of_any_version_do_nothing_and_addresses_are_real():
    before = set(sys.modules)
    with idle_device({}, lambda part, shapes: {}, 1):
        cuda = importlib.import_module("pycuda.driver")
        driver = importlib.import_module("cuda.bindings.driver")
        assert cuda.a_call_of_a_later_version(1, flag=2) is None
        assert driver.cuACallOfALaterVersion(1)[0] == driver.CUresult.CUDA_SUCCESS == 0
        registered = cuda.register_host_memory(values := np.arange(4), cuda.mem_host_register_flags.DEVICEMAP)
        assert np.shares_memory(registered, values)
        assert registered.base.get_device_pointer() == values.ctypes.data
        pinned = cuda.pagelocked_empty((2, 3), np.int32, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
        assert type(pinned) is np.ndarray
        assert pinned.base.get_device_pointer() == pinned.ctypes.data
        before_copy, after_copy = cuda.Event(), cuda.Event()
        before_copy.record()
        cuda.memcpy_htod_async(0, values, None)
        after_copy.record()
        assert after_copy.time_since(before_copy) > before_copy.time_since(before_copy)
        assert int(cuda.mem_alloc(1)) != int(cuda.mem_alloc(1))
    assert not {"pycuda", "pycuda.driver", "tensorrt", "cuda.bindings.driver"} & (set(sys.modules) - before)
