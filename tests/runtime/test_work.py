"""What the runtime hands to an executor."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.errors import BackendError
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Item, Items, Work, require_finite


def test_the_parts_of_a_work_are_those_that_run():
    item = Item({"values": np.zeros(3, np.float32)}, Span(0, 1))
    assert Work(0, {"imu": [item], "mic": []}).parts == {"imu", "fusion"}
    assert Work(0, {"imu": [item]}, fuse=False).parts == {"imu"}


def test_inputs_in_one_object_are_items_one_by_one():
    values = [np.full(2, at, np.float32) for at in range(3)]
    given = [Item({"values": v}, Span(at, 1), skipped=at, slot=at - 1) for at, v in enumerate(values)]
    items = Items.of(5, given, "values")
    assert list(items.numbers[1::6]) == [5, 5, 5]
    assert not items.in_slots
    assert Items.of(0, given[1:], "values").in_slots
    for found in (list(items), items[:], [items[-3], items[-2], items[2]]):
        for item, own in zip(found, given, strict=True):
            assert (item.rows, item.skipped, item.slot) == (own.rows, own.skipped, own.slot)
            assert item.feeds["values"] is own.feeds["values"]
    with pytest.raises(IndexError):
        items[3]


def test_outputs_that_are_no_numbers_are_refused():
    require_finite({"mood": np.zeros(2), "doors": np.ones(3)})
    with pytest.raises(BackendError, match="fusion gave NaN"):
        require_finite({"mood": np.zeros(2), "doors": np.array([0.0, np.nan])})
