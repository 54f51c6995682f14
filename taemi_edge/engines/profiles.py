"""Optimization profiles: the lengths that the engine of each part is built for, as they follow from the manifest.

An engine takes what a live run makes of the declared rates, chunks and windows, and every golden feed, since it is
verified on them. What a target names in its own profiles comes before what follows here; where an engine would not
take what it must then, the build is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import ChunkedSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, PartSpec
from taemi_edge.engines.asked_shapes import (
    Asked,
    Shapes,
    asked_of_encoder,
    asked_of_head,
    declared_layout,
    planned_layout,
    usual_shapes,
)
from taemi_edge.engines.recipe import Spans, TargetRecipe
from taemi_edge.errors import BundleError, UsageError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.parity.golden import Case, usual_case
from taemi_edge.runtime.tensorrt.calls import batch_sizes, padded, usual_counts
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.work import Layout

#: Engines take windows of up to so many seconds, whatever the window of the model is.
LONGEST_WINDOW_S = 60.0
#: The largest batch of texts and of windows, for one source.
_SMALL_BATCH = 4
#: An engine has a second profile where a whole window brings at least so many times as much as a hop.
_WORTH_A_PROFILE = 2


def part_profiles(manifest: Manifest, target: TargetRecipe, cases: Sequence[Case]) -> dict[str, Spans]:
    """Give the first optimization profile of every part: (min, opt, max) of each dynamic dimension by its name.

    Args:
        manifest: of the bundle of graphs.
        target: says how many sources share the engines, and what its profiles are where they differ.
        cases: the golden feeds.
    """
    return {part: found[0] for part, found in all_profiles(manifest, target, cases).items()}


def all_profiles(manifest: Manifest, target: TargetRecipe, cases: Sequence[Case]) -> dict[str, tuple[Spans, ...]]:
    """Give the optimization profiles of every part: that of a hop, and that of a whole window where it is another one.

    All of a part take the same lengths; they differ in the usual one.

    Args:
        manifest, target, cases: see `part_profiles`.
    """
    sources = target.sources
    most = {name: _encoder_batch(spec, manifest, sources)[2] for name, spec in manifest.streams.items()}
    found: dict[str, tuple[Spans, ...]] = {}
    for part in manifest.part_names:
        spans = _head_spans(manifest, sources, cases, most) if part == HEAD else {}
        if part != HEAD:
            device = planned_layout(manifest, declared_layout(manifest, sources), cases, most)
            spans = _encoder_spans(manifest, device, part, sources)
        for case in cases:
            if case.part == part:
                _widen(spans, manifest.parts[part], {n: v.shape for n, v in case.feeds.items()})
        named = target.profiles.get(part, {})
        both = [{**spans, **named}]
        if part != HEAD and (window := _window_spans(manifest, part, spans, sources)) is not None:
            both.append({**window, **named})
        found[part] = tuple(both[:1] if both[0] == both[-1] else both)
    return found


def require_covering(
    manifest: Manifest, target: TargetRecipe, cases: Sequence[Case], profiles: Mapping[str, Sequence[Spans]]
) -> None:
    """Refuse profiles that do not take what the model's own streams bring, or a golden feed.

    Args:
        manifest, target, cases: see `part_profiles`.
        profiles: of every part.

    Raises:
        UsageError: the message names the part, the dimension, what was expected and what there is.
    """
    most = {name: _batch_of(manifest.parts[name], profiles[name]) for name in manifest.streams}
    device = planned_layout(manifest, declared_layout(manifest, target.sources), cases, most)
    for part, found in profiles.items():
        asked = [*(asked_of_head(device) if part == HEAD else asked_of_encoder(device, part))]
        asked += [
            Asked({n: v.shape for n, v in case.feeds.items()}, f"the golden feed {case.name!r}")
            for case in cases
            if case.part == part
        ]
        for each in asked:
            problems = [_uncovered(manifest.parts[part], spans, each.shapes) for spans in found]
            if all(problems):
                name, size, (low, _, high) = problems[0] or ("", 0, (0, 0, 0))
                raise UsageError(
                    f"--target {target.name}: expected profiles.{part}.{name} to take {size}, for {each.what}, got "
                    f"{low} to {high}: widen it, or leave it out, and build again"
                )


def hop_shapes(manifest: Manifest, target: TargetRecipe, cases: Sequence[Case], part: str) -> list[Shapes]:
    """What ordinary hops of all sources ask of a part while every stream is there: each shape once.

    Args:
        manifest, target, cases: see `part_profiles`.
    """
    profiles = all_profiles(manifest, target, cases)
    most = {name: _batch_of(manifest.parts[name], profiles[name]) for name in manifest.streams}
    layout = declared_layout(manifest, target.sources)
    return usual_shapes(planned_layout(manifest, layout, cases, most), layout, part)


def profiles_in_words(profiles: Sequence[Spans]) -> str:
    """Profiles as a manifest has them, such as "frames 1 to 16, usually 3; frames 1 to 16, usually 16"."""
    return "; ".join(
        ", ".join(f"{name} {low} to {high}, usually {usual}" for name, (low, usual, high) in spans.items())
        for spans in profiles
    )


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


def _encoder_spans(manifest: Manifest, device: DeviceLayout, stream: str, sources: int) -> Spans:
    """The batch of an ordinary hop and the lengths of the stream's inputs."""
    spans: Spans = {}
    part = manifest.parts[stream]
    for asked in asked_of_encoder(device, stream):
        _widen(spans, part, asked.shapes)
    low, usual, high = _encoder_batch(device.spec(stream), manifest, sources)
    for name, axis in _dimensions(part).items():
        shortest, _, longest = spans[name]
        length = device.usual_length(stream)
        spans[name] = (shortest, min(max(shortest, length), longest), longest) if axis else (low, usual, high)
    return spans


def _encoder_batch(spec: StreamSpec, manifest: Manifest, sources: int) -> tuple[int, int, int]:
    """One hop of every source: at least a whole batch of what is encoded at once, and one more of each source."""
    layout = declared_layout(manifest, sources)
    _, usual, high = usual_counts(spec, layout)
    if isinstance(spec, TextSpec):
        most = max(_SMALL_BATCH, sources)
    elif isinstance(spec, VideoSpec):
        most = max(MAX_BATCH, high + sources)
    else:
        most = max(MAX_BATCH, max(sources, high) + sources)
    return 1, padded(usual, most, batch_sizes(spec, layout, most)), most


def _window_spans(manifest: Manifest, stream: str, hop: Spans, sources: int) -> Spans | None:
    """The profile for what a whole window of one source brings at once; None where a hop brings about as much."""
    spec, window_s = manifest.streams[stream], manifest.window.length_s
    if isinstance(spec, VideoSpec):
        brings = round(window_s * spec.frames_per_second)
    elif isinstance(spec, ChunkedSpec) and spec.chunk_s:
        brings = round(window_s / spec.chunk_s)
    else:
        return None
    batch = next((name for name, axis in _dimensions(manifest.parts[stream]).items() if not axis), None)
    if batch is None:
        return None
    low, usual, high = hop[batch]
    whole = min(brings, MAX_BATCH, high)
    return {**hop, batch: (low, whole, high)} if whole >= _WORTH_A_PROFILE * usual else None


def _head_spans(manifest: Manifest, sources: int, cases: Sequence[Case], most: Mapping[str, int]) -> Spans:
    """The windows of one source and of all of them, of the model's own length and of up to a minute."""
    spans: Spans = {}
    part, window, batch = manifest.parts[HEAD], manifest.window, max(_SMALL_BATCH, sources)
    for together in (1, batch):
        _widen_to_windows(spans, manifest, Layout(together, window.length_s, window.hop_s), cases, most)
        if window.length_s < LONGEST_WINDOW_S:
            with suppress(BundleError):  # a minute of features may be more than a device holds
                _widen_to_windows(spans, manifest, Layout(together, LONGEST_WINDOW_S, window.hop_s), cases, most)
    layout = declared_layout(manifest, sources)
    [usual] = usual_shapes(planned_layout(manifest, layout, cases, most), layout, HEAD)
    sizes = dynamic_sizes(part, {**usual, **_usual_rows(manifest, cases)})
    batch_name = part.inputs[0].shape[0]
    for name, (low, _, high) in spans.items():
        spans[name] = 1 if name == batch_name else low, min(max(low, sizes[name]), high), high
    return spans


def _widen_to_windows(
    spans: Spans, manifest: Manifest, layout: Layout, cases: Sequence[Case], most: Mapping[str, int]
) -> None:
    device, part = planned_layout(manifest, layout, cases, most), manifest.parts[HEAD]
    for asked in asked_of_head(device):
        _widen(spans, part, asked.shapes)
    fewest = {n: (1, min(spec.min_steps, spec.missing.steps)) for n, spec in manifest.streams.items()}
    _widen(spans, part, fewest)


def _usual_rows(manifest: Manifest, cases: Sequence[Case]) -> dict[str, tuple[int, ...]]:
    """Windows of streams whose rows come without a rate: only a golden window shows how many are usual."""
    rows = [n for n, spec in manifest.streams.items() if isinstance(spec, ChunkedSpec) and not spec.chunk_s]
    return {name: usual_case(cases, HEAD).feeds[name].shape for name in rows}


def _batch_of(part: PartSpec, profiles: Sequence[Spans]) -> int:
    """The largest batch that an encoder is built for."""
    batch = part.inputs[0].shape[0]
    return batch if isinstance(batch, int) else max(spans[batch][2] for spans in profiles)


def dynamic_sizes(part: PartSpec, shapes: Shapes) -> dict[str, int]:
    """The length of each dynamic dimension that inputs have."""
    return {
        name: size
        for tensor in part.inputs
        for name, size in zip(tensor.shape, shapes.get(tensor.name, ()), strict=False)
        if isinstance(name, str)
    }


def _uncovered(part: PartSpec, spans: Spans, shapes: Shapes) -> tuple[str, int, tuple[int, int, int]] | None:
    """The first dimension in which a profile does not take inputs: its name, their length, and the profile's span."""
    for tensor in part.inputs:
        for name, size in zip(tensor.shape, shapes.get(tensor.name, ()), strict=False):
            if isinstance(name, str) and not spans[name][0] <= size <= spans[name][2]:
                return name, size, spans[name]
    return None


def _widen(spans: Spans, part: PartSpec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Let an engine take inputs of these shapes."""
    for tensor in part.inputs:
        for name, size in zip(tensor.shape, shapes.get(tensor.name, ()), strict=False):
            if isinstance(name, str):
                low, usual, high = spans.get(name, (size, size, size))
                spans[name] = min(low, size), usual, max(high, size)
