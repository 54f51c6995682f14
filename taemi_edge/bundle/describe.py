"""Describing a bundle for people: its parts, sizes, precisions and tokens, as `taemi-edge inspect` prints them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.outputs import OutputSpec, RegressionSpec
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import ChunkedSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Frozen, TensorSpec


class PartDescription(Frozen, frozen=True):
    """One part of a bundle.

    `bytes` is the size of its file; inputs and outputs are written as `name dtype (shape)`. `form` says in which form
    of its precision an engine for a processor computes, such as "int8-dynamic, fused"; "" for the first one.
    """

    part: str
    file: str
    bytes: int
    precision: str
    opset: int
    parameters: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    form: str = ""


class BundleDescription(Frozen, frozen=True):
    """Everything that `taemi-edge inspect` prints about a bundle."""

    folder: str
    name: str
    trained: bool
    hashes_verified: int
    total_bytes: int
    parts: tuple[PartDescription, ...]
    #: Euclidean length of what stands for each missing stream; 0 for zeros.
    token_norms: dict[str, float]
    manifest: Manifest


def describe_bundle(folder: Path) -> BundleDescription:
    """Open a bundle, which checks the hash of every file, and describe it.

    Raises:
        BundleError: the folder is no bundle, a file is missing or a file was changed.
    """
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    built = () if manifest.engine is None else manifest.engine.candidates
    forms = {candidate.part: candidate.form for candidate in built if candidate.kept}
    parts = []
    for part, spec in manifest.parts.items():
        parts.append(
            PartDescription(
                part=part,
                file=spec.file,
                bytes=bundle.sizes[spec.file],
                precision=spec.precision,
                opset=spec.opset,
                parameters=spec.parameters,
                inputs=tuple(_signature(tensor) for tensor in spec.inputs),
                outputs=tuple(_signature(tensor) for tensor in spec.outputs),
                form=forms.get(part, ""),
            )
        )
    return BundleDescription(
        folder=str(folder),
        name=manifest.name,
        trained=manifest.trained,
        hashes_verified=len(manifest.sha256),
        total_bytes=sum(bundle.sizes[name] for name in manifest.sha256),
        parts=tuple(parts),
        token_norms={m: float(np.linalg.norm(bundle.tokens[m])) for m in manifest.streams},
        manifest=manifest,
    )


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


def _signature(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} ({', '.join(str(d) for d in tensor.shape)})"
