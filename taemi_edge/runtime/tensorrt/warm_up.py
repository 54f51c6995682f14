"""The cases of ordinary hops, which are run and captured when an executor is opened.

With the number of streams the cases multiply: here are those of the usual presence patterns. Others are captured when
they come up again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from taemi_edge.bundle.streams import ChunkedSpec, Pattern, TextSpec, VideoSpec
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase, usual_batches
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.work import Layout

#: Up to so many streams, every presence pattern is usual.
_MOST_IN_FULL = 3
#: Up to so many combinations of what streams bring are run; beyond them each is run once.
_MOST_COMBINATIONS = 8


def usual_cases(device: DeviceLayout, layout: Layout) -> Iterator[GraphCase]:
    """The cases of ordinary hops in the usual patterns."""
    for pattern in usual_patterns(device):
        options = [_options(device, layout, name) for name in device.streams if name in pattern]
        head = _usual_head(device, layout, pattern)
        for chosen in _combinations(options):
            yield GraphCase(tuple(case for case in chosen if case is not None), head)


def usual_patterns(device: DeviceLayout) -> list[Pattern]:
    """The presence patterns that come up without much ill luck: complete, one stream lost, nothing left.

    Up to three streams these are all patterns. Several sources rarely lose a stream together: only the complete one
    then.
    """
    patterns, count = device.manifest.patterns, len(device.streams)
    if device.sources > 1:
        return list(patterns[:1])
    return [p for p in patterns if count <= _MOST_IN_FULL or len(p) in (count, count - 1, 0)]


def _options(device: DeviceLayout, layout: Layout, stream: str) -> list[EncoderCase | None]:
    """What an ordinary hop brings of a stream: one of its usual batches; for texts also nothing new."""
    batches = usual_batches(device.spec(stream), layout, device.most[stream])
    length = device.usual_length(stream)
    found = [EncoderCase(stream, batch, length) if batch else None for batch in batches]
    return [None, *found] if isinstance(device.spec(stream), TextSpec) else found


def _combinations(options: Sequence[Sequence[EncoderCase | None]]) -> Iterator[tuple[EncoderCase | None, ...]]:
    if math.prod(map(len, options)) <= _MOST_COMBINATIONS:
        yield from product(*options)
        return
    for turn in range(max(map(len, options))):
        yield tuple(choices[turn % len(choices)] for choices in options)


def _usual_head(device: DeviceLayout, layout: Layout, pattern: Pattern) -> HeadCase:
    if device.reads_rings:
        return device.ring_case(pattern)
    steps = {
        name: _window_steps(device, layout, name) if name in pattern else device.spec(name).missing.steps
        for name in device.streams
    }
    return device.window_case(device.sources, steps)


def _window_steps(device: DeviceLayout, layout: Layout, stream: str) -> int:
    """How many feature vectors an ordinary window has of a stream."""
    spec = device.spec(stream)
    each = device.encoded_steps(stream, device.usual_length(stream))
    if isinstance(spec, VideoSpec):
        each *= round(layout.window_s * spec.frames_per_second)
    elif isinstance(spec, ChunkedSpec) and spec.chunk_s:
        each = device.steps[stream].per_chunk * round(layout.window_s / spec.chunk_s)
    return max(1, min(each, device.capacity[stream], spec.max_steps))
