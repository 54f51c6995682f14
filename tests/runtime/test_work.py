"""What the runtime hands to an executor."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.errors import BackendError
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Item, Work, require_finite


def test_the_parts_of_a_work_are_those_that_run():
    item = Item({"values": np.zeros(3, np.float32)}, Span(0, 1))
    assert Work(0, {"imu": [item], "mic": []}).parts == {"imu", "fusion"}
    assert Work(0, {"imu": [item]}, fuse=False).parts == {"imu"}


def test_outputs_that_are_no_numbers_are_refused():
    require_finite({"mood": np.zeros(2), "doors": np.ones(3)})
    with pytest.raises(BackendError, match="fusion gave NaN"):
        require_finite({"mood": np.zeros(2), "doors": np.array([0.0, np.nan])})
