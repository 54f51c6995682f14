"""What a call writes where the GPU reads it."""

from __future__ import annotations

import numpy as np

from taemi_edge.runtime.tensorrt.buffers import Inputs
from taemi_edge.runtime.tensorrt.calls import Call, GraphCase
from taemi_edge.runtime.tensorrt.inputs import write_inputs
from taemi_edge.runtime.work import Work


def test_a_call_is_written_where_the_case_says(gpu, opened):
    layout = opened[1]
    inputs = Inputs(gpu, layout, mapped=False)
    height, width = layout.manifest.vision.size_hw
    frames = [(1, np.full((height, width, 3), 7, np.uint8), row) for row in (4, -1, 5)]
    work = Work(1, window={"vision": np.array([4, 5])})
    case = write_inputs(inputs, layout, Call(frames, texts=[(0, np.array([9, 8], np.int32))], windows=[work]))
    assert case == GraphCase(3, (0, 0), (1, 16), frozenset({"vision"}))
    first = layout.ring_rows("vision")
    assert inputs.control.host["vision rows"][:4].tolist() == [first + 4, -1, first + 5, -1]
    assert inputs.control.host["ids"][:3].tolist() == [9, 8, 0]
    assert np.flatnonzero(inputs.control.host["vision mask"][1]).tolist() == [4, 5]
    inputs.close()
