"""What a call writes where the GPU reads it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.buffers import Inputs
from taemi_edge.runtime.tensorrt.calls import Call, EncoderCase
from taemi_edge.runtime.tensorrt.descriptor import LOST, CallWriter, Descriptor
from taemi_edge.runtime.work import Item, Layout, Work

PADDING = [-1, 0, 0, 0, 0, 0]


@pytest.fixture
def inputs(gpu, opened) -> Iterator[Inputs]:
    made = Inputs(gpu, opened[1], Layout(2, 4.0, 0.5), mapped=True)
    yield made
    made.close()


@pytest.fixture
def descriptor(gpu, opened) -> Iterator[Descriptor]:
    made = Descriptor(gpu, opened[1], mapped=False)
    yield made
    made.close()


def test_a_call_is_written_where_the_case_says(opened, inputs: Inputs, descriptor: Descriptor):
    layout = opened[1]
    crop = np.full((*layout.spec("vision").size_hw, 3), 7, np.uint8)
    frames = [(1, Item({"pixels": crop}, Span(4, 1))), (1, Item({"pixels": crop}, Span(5, 0), 1))]
    words = [(0, Item({"ids": np.array([9, 8], np.int32)}, Span(0, 2)))]
    call = Call({"vision": [*frames, frames[0]], "text": words}, [Work(1, window={"vision": Span(4, 2)})])
    case = CallWriter(descriptor, layout, inputs.slots).write(call)
    assert case.encoders == (EncoderCase("vision", 4), EncoderCase("text", 1, 32))
    assert case.head == layout.ring_case(frozenset({"vision"}))
    numbers = descriptor.numbers.host
    vision = [[0, 1, 4, 0, 1, 0], [1, 1, 5, 1, 0, 0], [2, 1, 4, 0, 1, 0], PADDING]
    assert numbers["vision items"][:4].tolist() == vision
    assert numbers["text items"][:2].tolist() == [[0, 0, 0, 0, 2, 2], PADDING]
    assert inputs.slots["text"].own[0, :2].tolist() == [9, 8]
    assert (inputs.slots["vision"].own[:3] == 7).all()
    at = layout.streams.index("vision")
    assert numbers["windows"][at].tolist() == [[0, 0], [4, 2]]
    assert numbers["windows"][layout.streams.index("audio")].tolist() == [[0, 0], [0, LOST]]


def test_an_input_in_a_slot_is_not_copied(opened, inputs: Inputs, descriptor: Descriptor):
    pool = inputs.slots["vision"].pool
    slots = [pool.take() for _ in range(2)]
    inputs.slots["vision"].own.fill(0)
    for slot in slots:
        slot.array.fill(7)
    frames = [(0, Item({"pixels": slot.array}, Span(i, 1), slot=slot.number)) for i, slot in enumerate(slots)]
    CallWriter(descriptor, opened[1], inputs.slots).write(Call({"vision": frames}))
    assert descriptor.numbers.host["vision items"][:2, 0].tolist() == [slot.number for slot in slots]
    assert not inputs.slots["vision"].own.any()


def test_the_shapes_of_a_call_are_one_case_whatever_it_brings(opened, inputs: Inputs, descriptor: Descriptor):
    writer = CallWriter(descriptor, opened[1], inputs.slots)
    crop = np.zeros((*opened[1].spec("vision").size_hw, 3), np.uint8)
    cases = [writer.write(Call({"vision": [(s, Item({"pixels": crop}, Span(s, 1)))]}, [Work(s)])) for s in (0, 1)]
    assert cases[0] is cases[1]
    assert cases[0] != writer.write(Call({}, [Work(0)]))


def test_a_warm_up_keeps_no_row_and_masks_no_window_wholly(opened, inputs: Inputs, descriptor: Descriptor):
    layout = opened[1]
    CallWriter(descriptor, layout, inputs.slots).write_warm_up()
    for name in layout.streams:
        assert {tuple(row) for row in descriptor.numbers.host[f"{name} items"].tolist()} == {tuple(PADDING)}
    assert descriptor.numbers.host["windows"][..., 1].tolist() == [[1, 1]] * len(layout.streams)
