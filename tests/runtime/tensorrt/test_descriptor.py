"""What a call writes where the GPU reads it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from taemi_edge.media.slots import NO_SLOT
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.buffers import Inputs
from taemi_edge.runtime.tensorrt.calls import Call, EncoderCase
from taemi_edge.runtime.tensorrt.descriptor import LOST, CallWriter, Descriptor
from taemi_edge.runtime.work import Item, Items, Layout, Work

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


def test_only_what_lies_in_no_slot_is_copied_to_its_place_in_the_batch(opened, inputs: Inputs, descriptor: Descriptor):
    """Two works in one call, of which the second has an input of each kind."""
    layout, slot = opened[1], inputs.slots["vision"].pool.take()
    inputs.slots["vision"].own.fill(0)
    slot.array.fill(7)
    crop = np.full((*layout.spec("vision").size_hw, 3), 5, np.uint8)
    first = Items("pixels", [slot.array], [slot.number, 0, 3, 0, 1, 0])
    second = Items("pixels", [slot.array, crop], [slot.number, 1, 4, 0, 1, 0, NO_SLOT, 1, 5, 0, 1, 0])
    assert first.in_slots
    assert not second.in_slots
    writer = CallWriter(descriptor, layout, inputs.slots)
    case, windows = writer.write_hop([Work(0, {"vision": first}, fuse=False), Work(1, {"vision": second}, fuse=False)])
    assert (case.encoders, case.head, list(windows)) == ((EncoderCase("vision", 4),), None, [])
    at = slot.number
    assert descriptor.numbers.host["vision items"][:4].tolist() == [
        [at, 0, 3, 0, 1, 0],
        [at, 1, 4, 0, 1, 0],
        [2, 1, 5, 0, 1, 0],
        PADDING,
    ]
    assert [row.max() for row in inputs.slots["vision"].own[:3]] == [0, 0, 5]
    assert second.numbers[6] == NO_SLOT  # the work itself stays as it is: it may be run again elsewhere


def test_inputs_of_several_lengths_are_no_one_call(opened, inputs: Inputs, descriptor: Descriptor):
    writer, lengths = CallWriter(descriptor, opened[1], inputs.slots), opened[1].lengths("audio")
    sounds = [Item({"samples": np.zeros(length, np.float32)}, Span(at, 1)) for at, length in enumerate(lengths)]
    works = [Work(at, {"audio": [sound]}, fuse=False) for at, sound in enumerate(sounds)]
    assert len(works) == 2
    assert writer.write_hop(works) is None
    assert [writer.write_hop([work])[0].encoders[0].length for work in works] == lengths


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
