"""Marks that time what lies between them."""

from __future__ import annotations

import pytest

from taemi_edge.runtime.tensorrt.driver import load_driver
from taemi_edge.runtime.tensorrt.timing import DriverMarks, PycudaMarks, new_marks


@pytest.mark.parametrize("kind", [DriverMarks, PycudaMarks])
def test_marks_time_what_lies_between_them(gpu, kind):
    marks = new_marks(gpu, load_driver()[0] if kind is DriverMarks else None, ("begin", "end"))
    assert isinstance(marks, kind)
    marks.record("begin", gpu.stream, capturing=False)
    marks.record("end", gpu.stream, capturing=False)
    assert marks.ms("begin", "end") >= 0
    marks.close()
