"""Streams and outputs of a model in words, as `taemi-edge inspect` and model cards say them."""

from __future__ import annotations

from taemi_edge.bundle.outputs import OutputSpec, RegressionSpec
from taemi_edge.bundle.streams import ChunkedSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec


def stream_in_words(spec: StreamSpec) -> str:
    """Say what a stream is, what the head reads where it is missing, and whether it may be.

    >>> from taemi_edge.bundle.streams import PresenceSpec
    >>> presence = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
    >>> stream_in_words(SeriesSpec(feature_dim=4, channels=6, rate_hz=50.0, chunk_s=0.5, presence=presence))
    'series of 6 channels at 50 Hz, chunks of 0.5 s; missing: learned, 1 step'
    """
    if isinstance(spec, VideoSpec):
        height, width = spec.size_hw
        kind = f"video {width}x{height}, {spec.crop}, {spec.frames_per_second:g} a second"
        kind += f", clips of {spec.clip_frames}" if spec.clip_frames > 1 else ""
    elif isinstance(spec, TextSpec):
        kind = f"text of at most {spec.max_tokens} tokens"
    elif isinstance(spec, SeriesSpec):
        rate = f" at {spec.rate_hz:g} Hz" if spec.rate_hz else ", row by row"
        kind = f"series of {spec.channels} channel{'s' if spec.channels > 1 else ''}{rate}"
    else:
        kind = f"audio at {spec.sample_rate_hz} Hz"
    if isinstance(spec, ChunkedSpec) and spec.chunk_s:
        kind += f", chunks of {spec.chunk_s:g} s" + (f" after {spec.context_s:g} s" if spec.context_s else "")
    if spec.required:
        return f"{kind}; required"
    steps = f"{spec.missing.steps} step{'s' if spec.missing.steps > 1 else ''}"
    return f"{kind}; missing: {spec.missing.kind}, {steps}"


def output_in_words(spec: OutputSpec) -> str:
    """Say what a group of outputs is.

    >>> output_in_words(RegressionSpec(names=("valence", "arousal"), range=(-1.0, 1.0)))
    'numbers from -1 to 1: valence, arousal'
    """
    names = ", ".join(spec.names)
    if isinstance(spec, RegressionSpec):
        span = "" if spec.range is None else f" from {spec.range[0]:g} to {spec.range[1]:g}"
        return f"numbers{span}: {names}"
    return f"{'classes' if spec.exclusive else 'classes, each for itself'}: {names}"
