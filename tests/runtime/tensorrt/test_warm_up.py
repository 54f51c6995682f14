"""The cases that are captured when an executor is opened: few, whatever the number of streams."""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec
import pytest

from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase
from taemi_edge.runtime.tensorrt.graphs import MAX_GRAPHS
from taemi_edge.runtime.tensorrt.layout import DeviceLayout, layout_of_sizes
from taemi_edge.runtime.tensorrt.warm_up import complete_cases, run_usual, usual_cases, usual_patterns
from taemi_edge.runtime.work import Layout

ONE, TWO = Layout(1, 4.0, 0.5), Layout(2, 4.0, 0.5)


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


def test_several_sources_have_their_ordinary_hops_first_and_then_each_stream_lost(opened):
    layout = opened[1]
    every = frozenset(layout.streams)
    assert usual_patterns(layout) == [every, *(every - {name} for name in reversed(layout.streams)), frozenset()]
    cases, complete = list(usual_cases(layout, TWO)), complete_cases(layout, TWO)
    assert len(cases) == len(set(cases)) <= MAX_GRAPHS
    assert cases[: len(complete)] == complete
    # four, five or six frames, and no new text, one or two
    assert len(complete) == 3 * 3


@pytest.mark.parametrize("sources", [1, 2, 4, 16])
def test_what_was_warmed_up_comes_up_in_ordinary_hops(opened, sources: int):
    """The sizes that a hop is padded to are those of the cases that were captured before."""
    most = dict.fromkeys(opened[1].streams, 64)
    hops = Layout(sources, 4.0, 0.5)
    layout = layout_of_sizes(opened[1].manifest, hops, opened[1].steps, most)
    warm = {case.encoders for case in complete_cases(layout, hops)}
    for frames, texts in ((2 * sources, 0), (3 * sources, sources), (-(-5 * sources // 2), sources)):
        encoders = [
            EncoderCase("vision", layout.batch("vision", frames)),
            EncoderCase("audio", layout.batch("audio", sources), 16_000),
            EncoderCase("text", layout.batch("text", texts), layout.tokens("text", 20)),
        ]
        assert tuple(case for case in encoders if case.batch) in warm


def test_warming_up_ends_when_its_time_is_over_and_tells_how_far_it_came(caplog):
    now_s, ran = [0.0], []

    def run(case: GraphCase) -> None:
        ran.append(case)
        now_s[0] += 2.0

    cases = [GraphCase((EncoderCase("front", batch),), None) for batch in range(1, 101)]
    with caplog.at_level(logging.INFO, logger="taemi_edge.runtime.warm_up"):
        assert run_usual(cases, run, clock=lambda: now_s[0]) == 8
    assert ran == [case for case in cases[:8] for _ in range(2)]
    assert caplog.messages[0] == "warming up: 1 of 100 cases"
    assert caplog.messages[-1] == "warming up: 8 of 100 cases in 32 s, others when they come up"
    caplog.clear()
    assert run_usual(cases[:1], run, clock=lambda: 0.0) == 1
    assert not caplog.messages


def test_the_cases_of_many_streams_do_not_multiply(opened):
    layout = with_videos(opened[1], 9)
    patterns = usual_patterns(layout)
    assert len(patterns) == 1 + 9 + 1
    cases = list(usual_cases(layout, ONE))
    assert len(cases) == 2 * (1 + 9) + 1
    assert max(len(case.encoders) for case in cases) == 9
