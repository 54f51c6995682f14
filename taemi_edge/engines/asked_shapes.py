"""The shapes that the runtime asks of each part, before there are engines: those that it may ask, and the usual ones.

Nothing of this is chosen here. The runtime's own layout, its sizes of batches and its cases of ordinary hops are asked,
so that what engines are built for, what is timed and what runs cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import HEAD
from taemi_edge.parity.golden import Case
from taemi_edge.runtime.kinds import count_steps
from taemi_edge.runtime.tensorrt.calls import EncoderCase, HeadCase
from taemi_edge.runtime.tensorrt.layout import DeviceLayout, layout_of_sizes
from taemi_edge.runtime.tensorrt.warm_up import complete_cases
from taemi_edge.runtime.work import Layout

#: The shapes of a part's inputs, by name.
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Asked:
    """Inputs that a part must take.

    Attributes:
        shapes: of the inputs.
        what: they are, in words: "a chunk with its context".
    """

    shapes: Shapes
    what: str


def declared_layout(manifest: Manifest, sources: int) -> Layout:
    """The layout of a run with the window and the hop that the model declares."""
    return Layout(sources, manifest.window.length_s, manifest.window.hop_s)


def planned_layout(manifest: Manifest, layout: Layout, cases: Sequence[Case], most: Mapping[str, int]) -> DeviceLayout:
    """The sizes that the executor will have on engines that are not built yet.

    Args:
        cases: golden cases, which show how many steps the encoders give.
        most: the largest batch of each encoder.
    """
    return layout_of_sizes(manifest, layout, count_steps(manifest, partial(_steps_given, manifest, cases)), most)


def asked_of_encoder(device: DeviceLayout, stream: str) -> Iterator[Asked]:
    """The smallest and the largest inputs of each length that the runtime asks of an encoder."""
    lengths = device.lengths(stream)
    named = ["a chunk", "a chunk with its context"] if len(lengths) > 1 else ["an input"]
    if isinstance(device.spec(stream), TextSpec):
        lengths, named = [1, *lengths], ["a text of one token", "a text of all tokens"]
    for length, what in zip(lengths, named, strict=True):
        for batch in (1, device.most[stream]):
            yield Asked(device.input_shapes(stream, batch, length), what)


def asked_of_head(device: DeviceLayout) -> Iterator[Asked]:
    """The shortest and the longest windows that the runtime asks of the head, with every stream there and with none."""
    stand_ins = {name: device.spec(name).missing.steps for name in device.streams}
    if device.reads_rings:
        yield Asked(device.head_shapes(device.ring_case(frozenset(device.streams))), "the rings of a window")
        yield Asked(device.head_shapes(device.ring_case(frozenset())), "what stands for missing streams")
        return
    longest, shortest = {}, {}
    for name in device.streams:
        spec = device.spec(name)
        steps = min(device.capacity[name], spec.max_steps)
        longest[name] = max(steps, stand_ins[name])
        shortest[name] = min(spec.min_steps, steps, stand_ins[name])
    for batch in (1, device.sources):
        yield Asked(device.head_shapes(device.window_case(batch, shortest)), "the shortest window")
        yield Asked(device.head_shapes(device.window_case(batch, longest)), "the longest window")
        yield Asked(device.head_shapes(device.window_case(batch, stand_ins)), "what stands for missing streams")


def usual_shapes(device: DeviceLayout, layout: Layout, part: str) -> list[Shapes]:
    """What ordinary hops ask of a part while every stream is there: each shape once, the smallest batch first."""
    found: dict[EncoderCase | HeadCase, Shapes] = {}
    for case in complete_cases(device, layout):
        if part == HEAD and case.head is not None:
            found[case.head] = device.head_shapes(case.head)
        for encoder in case.encoders:
            if encoder.stream == part:
                found[encoder] = device.input_shapes(part, encoder.batch, encoder.length)
    return [found[case] for case in sorted(found, key=lambda case: case.batch)]


def _steps_given(manifest: Manifest, cases: Sequence[Case], stream: str, length: int) -> int:
    """How many steps an encoder gives for an input of a length, as its golden outputs show.

    Where no golden feed has the length, the steps of the next one are scaled up to it.
    """
    part = manifest.parts[stream]
    if isinstance(part.outputs[0].shape[1], int):
        return part.outputs[0].shape[1]
    axis = next((axis for axis, size in enumerate(part.inputs[0].shape) if axis and isinstance(size, str)), None)
    given: dict[int, int] = {}
    for case in cases:
        if case.part == stream and case.expected:
            feed = case.feeds[part.inputs[0].name]
            given[length if axis is None else feed.shape[axis]] = case.expected[part.outputs[0].name].shape[1]
    if length in given or not given:
        return given.get(length, 1)
    nearest = min(given, key=lambda known: abs(known - length))
    return max(1, -(-given[nearest] * length // nearest))
