"""The kinds of streams, one module each, and the table that finds the kind of a stream.

A kind turns new data of a source into inputs for an encoder: `video` makes crops and clips of frames, `audio` makes
chunks of sound, `text` makes token ids of words, `series` makes chunks or rows of numbers. Each keeps the state of one
stream of one source: its presence, and where its features lie. None of them runs an encoder. `kind` says what a kind
must offer: adding one is adding a module and a line of `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from taemi_edge.bundle.limits import MOST_FEATURE_VALUES
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import BundleError
from taemi_edge.runtime.kinds import audio, series, text, video
from taemi_edge.runtime.kinds.kind import Kind
from taemi_edge.runtime.rings import StepCounts

KINDS: Mapping[type, Kind] = {VideoSpec: video, AudioSpec: audio, TextSpec: text, SeriesSpec: series}


def kind_of(spec: StreamSpec) -> Kind:
    """The kind of a stream."""
    return KINDS[type(spec)]


def count_steps(manifest: Manifest, count: Callable[[str, int], int]) -> dict[str, StepCounts]:
    """How many steps the encoders give for their inputs; texts are not among them.

    Args:
        count: runs the encoder of a stream on an input of a length, and says how many steps it gave. It is called for
            encoders that give steps, once for each length that there is.
    """
    counts = {}
    for name, spec in manifest.streams.items():
        lengths = kind_of(spec).input_lengths(spec)
        if lengths is not None:
            counts[name] = StepCounts(*lengths, (lambda _: 1) if manifest.gives_vector(name) else partial(count, name))
    return counts


def fixed_steps(manifest: Manifest, stream: str) -> int | None:
    """How many steps the encoder of a stream gives whatever the length of its input; None where that varies."""
    if manifest.gives_vector(stream):
        return 1
    steps = manifest.parts[stream].outputs[0].shape[1]
    return steps if isinstance(steps, int) else None


def ring_capacity(manifest: Manifest, window_s: float, steps: Mapping[str, StepCounts]) -> dict[str, int]:
    """How many rows the ring of each stream needs: there is room for one window.

    Raises:
        BundleError: the rings would take more memory than any window of a real model.
    """
    capacity = {}
    for name, spec in manifest.streams.items():
        each = steps[name].per_chunk if name in steps else fixed_steps(manifest, name) or 0
        capacity[name] = kind_of(spec).capacity(spec, window_s, each)
    values = sum(rows * manifest.streams[name].feature_dim for name, rows in capacity.items())
    if values > MOST_FEATURE_VALUES:
        raise BundleError(
            f"{manifest.name}: expected a window of at most {MOST_FEATURE_VALUES:,} numbers in features, got "
            f"{values:,} in {window_s:g} s: take a shorter window, or fewer steps a second"
        )
    return capacity
