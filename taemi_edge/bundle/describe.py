"""A bundle in, what it holds out: parts, sizes, precisions, tokens, provenance; every hash verified on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.spec import MODALITIES, PARTS, Frozen, Manifest, TensorSpec


class PartDescription(Frozen, frozen=True):
    """One part as people look at it."""

    part: str
    file: str
    bytes: int
    precision: str
    opset: int
    parameters: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class BundleDescription(Frozen, frozen=True):
    """What `taemi-edge inspect` prints."""

    folder: str
    name: str
    trained: bool
    hashes_verified: int
    total_bytes: int
    parts: tuple[PartDescription, ...]
    #: Euclidean length of each missing-modality token; zeros mean that the model has none.
    token_norms: dict[str, float]
    manifest: Manifest


def describe_bundle(folder: Path) -> BundleDescription:
    """Open a bundle, which verifies every hash, and describe it.

    Raises:
        BundleError: it is not a whole, unchanged bundle.
    """
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    parts = []
    for part in PARTS:
        spec = manifest.parts.of(part)
        parts.append(
            PartDescription(
                part=part,
                file=spec.file,
                bytes=bundle.part_file(part).stat().st_size,
                precision=spec.precision,
                opset=spec.opset,
                parameters=spec.parameters,
                inputs=tuple(_seam(tensor) for tensor in spec.inputs),
                outputs=tuple(_seam(tensor) for tensor in spec.outputs),
            )
        )
    return BundleDescription(
        folder=str(folder),
        name=manifest.name,
        trained=manifest.trained,
        hashes_verified=len(manifest.sha256),
        total_bytes=sum((folder / name).stat().st_size for name in manifest.sha256),
        parts=tuple(parts),
        token_norms={m: float(np.linalg.norm(bundle.tokens[m])) for m in MODALITIES},
        manifest=manifest,
    )


def to_json(value: Any) -> str:
    """Indented JSON of any of the package's frozen data."""
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _seam(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} ({', '.join(str(d) for d in tensor.shape)})"
