"""The cases that are captured when an executor is opened: few, whatever the number of streams."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.tensorrt.warm_up import usual_cases, usual_patterns
from taemi_edge.runtime.work import Layout

ONE = Layout(1, 4.0, 0.5)


def alone(layout: DeviceLayout) -> DeviceLayout:
    return replace(layout, sources=1)


def with_videos(layout: DeviceLayout, count: int) -> DeviceLayout:
    """A model of so many videos."""
    names = [f"v{i}" for i in range(count)]
    manifest = layout.manifest
    parts = dict.fromkeys(names, manifest.parts["vision"])
    head = manifest.parts["fusion"]
    inputs = tuple(
        msgspec.structs.replace(tensor, name=tensor.name.replace("vision", name), shape=tensor.shape)
        for name in names
        for tensor in head.inputs[:2]
    )
    changed = msgspec.structs.replace(
        manifest,
        streams=dict.fromkeys(names, manifest.streams["vision"]),
        parts={**parts, "fusion": msgspec.structs.replace(head, inputs=inputs)},
        tolerances=dict.fromkeys((*names, "fusion"), manifest.tolerances["fusion"]),
    )
    each = {"capacity": 22, "most": 16}
    sizes = {field: dict.fromkeys(names, value) for field, value in each.items()}
    steps = dict.fromkeys(names, layout.steps["vision"])
    return replace(layout, manifest=changed, sources=1, steps=steps, **sizes)


def test_three_streams_have_all_their_patterns_and_every_combination_of_an_ordinary_hop(opened):
    layout = alone(opened[1])
    cases = list(usual_cases(layout, ONE))
    assert usual_patterns(layout) == list(layout.manifest.patterns)
    # two counts of frames, and a text that is new or not, where those streams are there
    assert len(cases) == len(set(cases)) == 2 * (4 + 2 + 2 + 1)
    assert {case.head.live for case in cases} == set(layout.manifest.patterns)


def test_several_sources_rarely_lose_a_stream_together(opened):
    assert usual_patterns(opened[1]) == [frozenset(opened[1].streams)]


def test_the_cases_of_many_streams_do_not_multiply(opened):
    layout = with_videos(opened[1], 9)
    patterns = usual_patterns(layout)
    assert len(patterns) == 1 + 9 + 1
    cases = list(usual_cases(layout, ONE))
    assert len(cases) == 2 * (1 + 9) + 1
    assert max(len(case.encoders) for case in cases) == 9
