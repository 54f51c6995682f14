"""Optimization profiles: the lengths that the engine of each part is built for, as they follow from the manifest.

An engine takes what a live run makes of the declared rates, chunks and windows, and every golden feed, since it is
verified on them. What a target names in its own profiles comes before what follows here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import ChunkedSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, PartSpec
from taemi_edge.engines.compiler import Span
from taemi_edge.engines.recipe import Spans, TargetRecipe
from taemi_edge.errors import UsageError
from taemi_edge.media.chunks import MAX_BATCH, kept_steps
from taemi_edge.parity.golden import Case, usual_case

#: Engines take windows of up to so many seconds, whatever the window of the model is.
LONGEST_WINDOW_S = 60.0
#: The largest batch of texts and of windows, for one source.
_SMALL_BATCH = 4


def part_profiles(manifest: Manifest, target: TargetRecipe, cases: Sequence[Case]) -> dict[str, Spans]:
    """Give the optimization profile of every part: (min, opt, max) of each dynamic dimension by its name.

    Args:
        manifest: of the bundle of graphs.
        target: says how many sources share the engines, and what its profiles are where they differ.
        cases: the golden feeds.
    """
    profiles = {name: _encoder_spans(manifest, name, target.sources) for name in manifest.streams}
    profiles[HEAD] = _head_spans(manifest, target.sources, cases)
    for case in cases:
        _widen(profiles[case.part], manifest.parts[case.part], {n: v.shape for n, v in case.feeds.items()})
    return {part: {**spans, **target.profiles.get(part, {})} for part, spans in profiles.items()}


def require_profiles(manifest: Manifest, target: TargetRecipe) -> None:
    """Refuse a target whose profiles name parts or dimensions that the model does not have.

    Raises:
        UsageError: the message names what there is.
    """
    for part, spans in target.profiles.items():
        if part not in manifest.parts:
            raise UsageError(
                f"--target {target.name}: expected profiles of {', '.join(manifest.part_names)}, got {part!r}"
            )
        known = _dimensions(manifest.parts[part])
        for dimension in spans:
            if dimension not in known:
                raise UsageError(
                    f"--target {target.name}: expected {', '.join(known)} in profiles.{part}, got {dimension!r}"
                )


def _dimensions(part: PartSpec) -> dict[str, int]:
    """The names of a part's dynamic dimensions, and on which axis each of them lies."""
    return {size: axis for tensor in part.inputs for axis, size in enumerate(tensor.shape) if isinstance(size, str)}


def _encoder_spans(manifest: Manifest, stream: str, sources: int) -> Spans:
    spec = manifest.streams[stream]
    batch = _encoder_batch(spec, manifest.window.hop_s, sources)
    length = _input_length(spec)
    found = {name: length if axis else batch for name, axis in _dimensions(manifest.parts[stream]).items()}
    return {name: span for name, span in found.items() if span is not None}


def _encoder_batch(spec: StreamSpec, hop_s: float, sources: int) -> Span:
    """One hop of every source: at least a whole batch of what is encoded at once, and one more of each source."""
    if isinstance(spec, TextSpec):
        return 1, sources, max(_SMALL_BATCH, sources)
    if isinstance(spec, VideoSpec):
        each = spec.frames_per_second * hop_s
        return 1, max(1, int(each * sources)), max(MAX_BATCH, (math.ceil(each) + 1) * sources)
    usual = max(1, round(hop_s / spec.chunk_s)) if spec.chunk_s else 1
    return 1, usual * sources, max(MAX_BATCH, (usual + 1) * sources)


def _input_length(spec: StreamSpec) -> Span | None:
    """How long one input of an encoder is; None where all have one shape."""
    if isinstance(spec, TextSpec):
        return 1, max(1, spec.max_tokens // 2), spec.max_tokens
    if isinstance(spec, ChunkedSpec) and spec.chunk_s:
        longest = spec.chunk_samples + spec.context_samples
        return spec.chunk_samples, longest, longest
    return None


def _head_spans(manifest: Manifest, sources: int, cases: Sequence[Case]) -> Spans:
    dimensions: dict[str, Span] = {}
    for tensor in manifest.parts[HEAD].inputs:
        batch, steps, *_ = tensor.shape
        if isinstance(batch, str):
            dimensions[batch] = 1, sources, max(_SMALL_BATCH, sources)
        if isinstance(steps, str) and tensor.name in manifest.streams:
            dimensions[steps] = _window_steps(manifest, tensor.name, cases)
    return dimensions


def _window_steps(manifest: Manifest, stream: str, cases: Sequence[Case]) -> Span:
    """The least, usual and largest number of feature vectors (steps) of a stream that the head reads.

    Lengths that follow from a rate are rounded up to a round number: a window does not always hold as many. A ring of
    several sources has the stand-in of the stream at its end.
    """
    spec, stand_in = manifest.streams[stream], manifest.streams[stream].missing.steps
    rate = _steps_per_second(manifest, stream, cases)
    if isinstance(spec, TextSpec):
        longest = 1 if manifest.gives_vector(stream) else spec.max_tokens
        usual, high = max(1, longest // 2), longest + stand_in
    elif rate is None:
        usual = usual_case(cases, HEAD).feeds[stream].shape[1]
        high = max(spec.max_rows if isinstance(spec, SeriesSpec) else 0, MAX_BATCH) + stand_in
    else:
        usual = _round_up(manifest.window.length_s * rate)
        high = max(_round_up(max(LONGEST_WINDOW_S, manifest.window.length_s) * rate), MAX_BATCH + stand_in)
    low = min(spec.min_steps, stand_in)
    high = max(low, stand_in, min(high, spec.max_steps))
    return low, min(max(low, usual), high), high


def _steps_per_second(manifest: Manifest, stream: str, cases: Iterable[Case]) -> float | None:
    """How many feature vectors a stream gives in a second; None where it has no rate."""
    spec = manifest.streams[stream]
    if isinstance(spec, VideoSpec):
        return spec.frames_per_second * _most_steps(manifest, stream, cases)
    if isinstance(spec, ChunkedSpec) and spec.chunk_s:
        longest = spec.chunk_samples + spec.context_samples
        encoded = _most_steps(manifest, stream, cases)
        return kept_steps(spec.chunk_samples, longest, encoded) / spec.chunk_s
    return None


def _most_steps(manifest: Manifest, stream: str, cases: Iterable[Case]) -> int:
    """How many feature vectors the encoder gave for the longest of its golden feeds."""
    if manifest.gives_vector(stream):
        return 1
    [output] = manifest.parts[stream].outputs
    given = [(case.expected or {})[output.name].shape[1] for case in cases if case.part == stream and case.expected]
    return max(given, default=1)


def _round_up(value: float) -> int:
    """Round up to one digit that is not zero.

    >>> _round_up(192), _round_up(300), _round_up(2.5)
    (200, 300, 3)
    """
    whole = max(1, math.ceil(value - 1e-9))
    unit: int = 10 ** (len(str(whole)) - 1)
    return -(-whole // unit) * unit


def _widen(spans: Spans, part: PartSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Let an engine take inputs of these shapes."""
    for tensor in part.inputs:
        for name, size in zip(tensor.shape, shapes.get(tensor.name, ()), strict=False):
            if isinstance(name, str):
                low, usual, high = spans.get(name, (size, size, size))
                spans[name] = min(low, size), usual, max(high, size)
