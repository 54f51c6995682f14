"""Describing a bundle for people: its parts, sizes, precisions and tokens, as `taemi-edge inspect` prints them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.spec import Manifest
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


def _signature(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype} ({', '.join(str(d) for d in tensor.shape)})"
