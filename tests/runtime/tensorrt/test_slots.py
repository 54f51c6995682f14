"""Slots that others write into: given out once, and given back by themselves."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest

from taemi_edge.runtime.tensorrt.driver import load_driver
from taemi_edge.runtime.tensorrt.slots import InputSlots


def opened_slots(gpu, **options) -> InputSlots:
    return InputSlots(gpu, (3, 5), np.float32, own=2, pooled=4, **{"mapped": True, **options})


def test_a_slot_is_given_to_one_and_goes_back_when_its_last_array_is_gone(gpu):
    slots = opened_slots(gpu)
    taken = [slots.pool.take() for _ in range(4)]
    assert [slot.number for slot in taken] == [2, 3, 4, 5]
    assert slots.pool.take() is None
    for slot in taken:
        slot.array[:] = slot.number
    view = taken[1].array[1:, 2]
    del taken[:], slot
    gc.collect()
    assert len(slots.pool) == 3  # a view of one is still there
    assert view.tolist() == [3.0, 3.0]
    del view
    assert len(slots.pool) == 4
    slots.close()


def test_the_gpu_finds_a_slot_by_its_number(gpu):
    slots = opened_slots(gpu)
    slot = slots.pool.take()
    slot.array[:] = np.arange(15).reshape(3, 5)
    found = np.empty(15, np.float32)
    gpu.cuda.memcpy_dtoh(found, slots.address + slot.number * slots.stride)
    assert found.tolist() == list(range(15))
    assert slots.stride % 256 == 0
    slots.own[1] = 7
    gpu.cuda.memcpy_dtoh(found, slots.address + slots.stride)
    assert set(found.tolist()) == {7.0}
    slots.close()


def test_any_thread_may_take_slots(gpu):
    slots = opened_slots(gpu)

    def take() -> None:
        for _ in range(2_000):
            slot = slots.pool.take()
            if slot is not None:
                slot.array[:] = me = threading.get_ident() % 1_000
                assert (slot.array == me).all()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slots.pool) == 4
    slots.close()


def test_what_lies_in_a_slot_can_be_read_when_the_gpu_is_gone(gpu):
    slots = opened_slots(gpu)
    slot = slots.pool.take()
    slot.array[:] = 3
    slots.close()
    del slots
    gc.collect()
    assert slot.array.sum() == 45


def test_the_pool_is_registered_through_cuda_bindings_and_taken_back(gpu, device):
    """PyCUDA's own call crashes with memory like this since 2024.1.2."""
    assert not hasattr(gpu.cuda, "register_host_memory")
    before = dict(device.registered)
    slots = opened_slots(gpu)
    [(start, size)] = device.registered.items() - before.items()
    assert (start, size) == (slots.address, 6 * slots.stride)
    slots.close()
    assert device.registered == before


@pytest.mark.parametrize("call", ["cuMemHostRegister", "cuMemHostGetDevicePointer"])
def test_a_driver_that_lacks_the_calls_registers_nothing(gpu, device, monkeypatch, call: str):
    def missing(*_) -> None:
        raise RuntimeError(f'Function "{call}" not found')

    monkeypatch.setattr(load_driver()[0], call, missing)
    before = dict(device.registered)
    slots = opened_slots(gpu)
    assert slots.pool is None
    assert device.registered == before
    slots.close()


def test_without_cuda_bindings_there_is_no_pool(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    slots = opened_slots(gpu)
    assert slots.pool is None
    slots.own[1] = 7
    found = np.empty(15, np.float32)
    gpu.cuda.memcpy_dtoh(found, slots.address + slots.stride)
    assert set(found.tolist()) == {7.0}
    slots.close()


def test_memory_that_cannot_be_registered_is_allocated_and_nobody_shares_it(gpu, device):
    device.registers = False
    try:
        slots = opened_slots(gpu)
    finally:
        device.registers = True
    assert slots.pool is None
    assert slots.own.shape == (2, 3, 5)
    slots.close()
    copied = opened_slots(gpu, mapped=False)
    assert copied.pool is None
    copied.own[0] = 4
    copied.upload(gpu.stream, 1)
    found = np.empty(15, np.float32)
    gpu.cuda.memcpy_dtoh(found, copied.address)
    assert set(found.tolist()) == {4.0}
    copied.close()
