"""The cases of ordinary hops, which are run and captured when an executor is opened.

With the number of streams the cases multiply: here are those of the usual presence patterns, the complete one first.
Others are captured when they come up again, and so are those that the time for this does not suffice for.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from taemi_edge.bundle.streams import ChunkedSpec, Pattern, TextSpec, VideoSpec
from taemi_edge.runtime.tensorrt.calls import EncoderCase, GraphCase, HeadCase, usual_batches
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.work import Layout

#: Up to so many streams, every presence pattern is usual.
_MOST_IN_FULL = 3
#: Up to so many combinations of what streams bring are run; beyond them each is run once.
_MOST_COMBINATIONS = 8
#: The same of the complete pattern where several sources share the executor.
_MOST_TOGETHER = 32
#: No further case is begun after so many seconds.
MOST_SECONDS = 30.0
#: Progress is told when so many seconds have passed since it was told last.
_TOLD_EVERY_S = 1.0

log = logging.getLogger("taemi_edge.runtime.warm_up")


def run_usual(
    cases: Sequence[GraphCase], run: Callable[[GraphCase], None], clock: Callable[[], float] = time.perf_counter
) -> int:
    """Run each case twice, since it is captured when it comes up for the second time, as long as there is time.

    What takes more than a second is told to the log, second by second.

    Args:
        cases: the most usual first.
        run: runs one of them.
        clock: gives seconds.

    Returns:
        How many cases were run.
    """
    started = told = clock()
    for done, case in enumerate(cases):
        now = clock()
        if now - started > MOST_SECONDS:
            log.info("warming up: %d of %d cases in %.0f s, others when they come up", done, len(cases), now - started)
            return done
        if now - told >= _TOLD_EVERY_S:
            told = now
            log.info("warming up: %d of %d cases", done, len(cases))
        run(case)
        run(case)
    return len(cases)


def usual_cases(device: DeviceLayout, layout: Layout) -> Iterator[GraphCase]:
    """The cases of ordinary hops in the usual patterns, the complete one first; none comes twice."""
    patterns = usual_patterns(device)
    yield from dict.fromkeys(case for pattern in patterns for case in _cases_of(device, layout, pattern))


def complete_cases(device: DeviceLayout, layout: Layout) -> list[GraphCase]:
    """The cases of ordinary hops in which every stream is there."""
    return list(_cases_of(device, layout, frozenset(device.streams)))


def usual_patterns(device: DeviceLayout) -> list[Pattern]:
    """The presence patterns that come up without much ill luck: complete, one stream lost, nothing left.

    Up to three streams of one source these are all patterns.
    """
    patterns, count = device.manifest.patterns, len(device.streams)
    in_full = device.sources == 1 and count <= _MOST_IN_FULL
    return [p for p in patterns if in_full or len(p) in (count, count - 1, 0)]


def _cases_of(device: DeviceLayout, layout: Layout, pattern: Pattern) -> Iterator[GraphCase]:
    options = [_options(device, layout, name) for name in device.streams if name in pattern]
    head = _usual_head(device, layout, pattern)
    together = device.sources > 1 and len(pattern) == len(device.streams)
    for chosen in _combinations(options, _MOST_TOGETHER if together else _MOST_COMBINATIONS):
        yield GraphCase(tuple(case for case in chosen if case is not None), head)


def _options(device: DeviceLayout, layout: Layout, stream: str) -> list[EncoderCase | None]:
    """What an ordinary hop brings of a stream: one of its usual batches, or nothing where that is usual, too."""
    batches = usual_batches(device.spec(stream), layout, device.most[stream])
    length = device.usual_length(stream)
    found = [EncoderCase(stream, batch, length) if batch else None for batch in batches]
    return [None, *found] if isinstance(device.spec(stream), TextSpec) and None not in found else found


def _combinations(
    options: Sequence[Sequence[EncoderCase | None]], most: int
) -> Iterator[tuple[EncoderCase | None, ...]]:
    if math.prod(map(len, options)) <= most:
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
    return max(spec.min_steps, min(each, device.capacity[stream], spec.max_steps))
