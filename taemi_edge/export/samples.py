"""The samples of a model: recorded inputs, of which golden feeds are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import ContractError
from taemi_edge.export.kinds import Kind, Text
from taemi_edge.media.arrays import Samples, Sound

#: One recorded input of a model: arrays by "STREAM/INPUT" without a batch axis, and by "label/OUTPUT".
Sample: TypeAlias = Mapping[str, Any]

_LABEL = "label"
#: The words of a stream of text, in place of its ids.
_WORDS = "words"


class StreamLike(Protocol):
    """What a sample must know of a stream."""

    @property
    def kind(self) -> Kind: ...

    @property
    def required(self) -> bool: ...


def checked_sample(
    index: int, sample: Sample, streams: Mapping[str, StreamLike], outputs: Iterable[str]
) -> dict[str, Any]:
    """A sample as arrays.

    Args:
        index: its number, for messages.
        sample: arrays, tensors or lists of numbers, a `Sound` or `Samples` at the stream's rate, and words as a string;
            None is the same as left out.
        streams, outputs: those of the model.

    Raises:
        ContractError: a stream, input or output that the model does not have, no number, or a required stream that is
            left out.
    """
    if not isinstance(sample, Mapping):
        raise ContractError(f"sample {index}: expected a dict of STREAM/INPUT, got a {type(sample).__name__}")
    known = {f"{name}/{key}" for name, stream in streams.items() for key in stream.kind.inputs}
    known |= {f"{name}/{_WORDS}" for name, stream in streams.items() if isinstance(stream.kind, Text)}
    known |= {f"{_LABEL}/{name}" for name in outputs}
    if unknown := sorted(str(key) for key in sample if key not in known):
        raise ContractError(f"sample {index}: expected keys among {', '.join(sorted(known))}, got {unknown[0]!r}")
    arrays: dict[str, Any] = {}
    for key, value in sample.items():
        if value is not None:
            is_words = key.endswith(f"/{_WORDS}") and isinstance(value, str)
            what, stream = f"sample {index}, {key}", streams.get(key.partition("/")[0])
            plain = _at_the_rate(what, value, stream.kind) if stream is not None else value
            arrays[key] = plain if is_words else _numbers(what, plain)
    for name, stream in streams.items():
        here = [key for key in stream.kind.inputs if f"{name}/{key}" in arrays]
        if stream.required and not any(key.startswith(f"{name}/") for key in arrays):
            raise ContractError(f"sample {index}: expected the stream {name!r}, which is required, got none")
        if not here and isinstance(arrays.get(f"{name}/{_WORDS}"), str):
            continue
        if here and stream.kind.inputs[0] not in here:
            raise ContractError(f"sample {index}: expected {name}/{stream.kind.inputs[0]}, got {name}/{here[0]}")
    return arrays


def _at_the_rate(what: str, value: Any, kind: Kind) -> Any:
    """The numbers of a `Sound` or of `Samples`, whose rate must be that of the stream; anything else as it is."""
    if not isinstance(value, (Sound, Samples)):
        return value
    wanted = getattr(kind, "sample_rate_hz" if isinstance(value, Sound) else "rate_hz", None)
    if wanted is None:
        raise ContractError(f"{what}: expected an array, got a {type(value).__name__} for a {type(kind).__name__}")
    if wanted and value.rate_hz != wanted:
        got = f"{value.rate_hz:g} Hz" if value.rate_hz else "rows with times of their own"
        raise ContractError(f"{what}: expected the stream's rate, {wanted:g} Hz, got {got}: resample it as in training")
    return value.mono() if isinstance(value, Sound) else value.array


def _numbers(what: str, value: Any) -> Array:
    detach = getattr(value, "detach", None)
    try:
        array = np.asarray(detach().cpu().numpy() if detach else value)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{what}: expected an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ContractError(f"{what}: expected an array of numbers, got {array.dtype}")
    return array
