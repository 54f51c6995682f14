"""What a call writes where the GPU reads it."""

from __future__ import annotations

import numpy as np

from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.buffers import Inputs
from taemi_edge.runtime.tensorrt.calls import Call, EncoderCase
from taemi_edge.runtime.tensorrt.inputs import write_inputs, write_warm_up
from taemi_edge.runtime.work import Item, Work


def test_a_call_is_written_where_the_case_says(gpu, opened):
    layout = opened[1]
    inputs = Inputs(gpu, layout, mapped=False)
    height, width = layout.spec("vision").size_hw
    crop = np.full((height, width, 3), 7, np.uint8)
    frames = [(1, Item({"pixels": crop}, Span(max(row, 0), row >= 0), int(row < 0))) for row in (4, -1, 5)]
    words = [(0, Item({"ids": np.array([9, 8], np.int32)}, Span(0, 2)))]
    work = Work(1, window={"vision": Span(4, 2)})
    case = write_inputs(inputs, layout, Call({"vision": frames, "text": words}, [work]))
    assert case.encoders == (EncoderCase("vision", 4), EncoderCase("text", 1, 32))
    assert case.head == layout.ring_case(frozenset({"vision"}))
    first = layout.ring_rows("vision")
    assert inputs.control.host["vision rows"][:4].tolist() == [first + 4, -1, first + 5, -1]
    assert inputs.control.host["text ids"][:3].tolist() == [9, 8, 0]
    assert np.flatnonzero(inputs.control.host["vision mask"][1]).tolist() == [4, 5]
    inputs.close()


def test_a_warm_up_keeps_no_row_and_masks_no_window_wholly(gpu, opened):
    layout = opened[1]
    inputs = Inputs(gpu, layout, mapped=False)
    write_warm_up(inputs, layout)
    for name in layout.streams:
        assert set(inputs.control.host[f"{name} rows"].tolist()) == {-1}
        assert inputs.control.host[f"{name} mask"].sum(axis=1).tolist() == [1, 1]
    inputs.close()
