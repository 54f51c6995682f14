"""Reads and writes `tokens.safetensors`: what stands for each missing stream, float32 (D,) or (steps, D)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.limits import MOST_TOKENS_HEADER_BYTES
from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BundleError

TOKENS = "tokens.safetensors"


def read_tokens(content: bytes, streams: Mapping[str, StreamSpec], file: Path) -> dict[str, Array]:
    """Read the token of every stream.

    Args:
        content: of the file.
        streams: the model's streams, which say what shape each token has.
        file: what error messages call the file.

    Returns:
        By stream, float32 (steps, D).

    Raises:
        BundleError: it is no safetensors, or a token is missing, has another type or shape, or is not finite.
    """
    from safetensors import SafetensorError, deserialize

    header = int.from_bytes(content[:8], "little")
    if header > MOST_TOKENS_HEADER_BYTES:
        raise BundleError(
            f"{file}: expected safetensors with a header of at most {MOST_TOKENS_HEADER_BYTES:,} bytes, got "
            f"{header:,}: export the model again"
        )
    try:
        stored: dict[str, Any] = dict(deserialize(content))  # type: ignore[no-untyped-call]  # its stub has no types
    except (SafetensorError, ValueError) as error:
        raise BundleError(f"{file}: expected safetensors: {error!s:.200}: export the model again") from error
    return {name: _token(stored.get(name), name, spec, file) for name, spec in streams.items()}


def _token(stored: Mapping[str, Any] | None, name: str, spec: StreamSpec, file: Path) -> Array:
    want = (spec.missing.steps, spec.feature_dim)
    shape = None if stored is None else tuple(stored["shape"])
    if stored is None or (shape != want and not (want[0] == 1 and shape == want[1:])):
        raise BundleError(f"{file}: expected the token {name!r} of shape {want}, got {shape}: export the model again")
    if stored["dtype"] != "F32":
        raise BundleError(f"{file}: expected the token {name!r} in F32, got {stored['dtype']}: export the model again")
    token: Array = np.frombuffer(stored["data"], "<f4").astype(np.float32).reshape(want)
    if not np.isfinite(token).all():
        raise BundleError(f"{file}: expected finite numbers in the token {name!r}, got others: export the model again")
    return token


def write_tokens(folder: Path, tokens: Mapping[str, Array]) -> None:
    """Write `tokens.safetensors`.

    Args:
        folder: the bundle that is being made.
        tokens: what stands for each missing stream, (D,) or (steps, D).
    """
    from safetensors.numpy import save

    # `save_file` would make the file readable for its owner alone, and services run as somebody else
    content = save({name: np.ascontiguousarray(value, np.float32) for name, value in tokens.items()})
    (folder / TOKENS).write_bytes(content)
