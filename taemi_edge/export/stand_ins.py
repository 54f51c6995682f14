"""Chooses how long what stands for a missing stream is, by what the head does with it.

Most heads give the same for a vector and for the vector repeated: then one step is bound, which is the cheapest. A head
with positions, a recurrence or a joint softmax does not. Training showed it a whole window of the vector, and so the
vector is repeated to the length of an ordinary window, unless the model declares another `tile`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from taemi_edge.bundle.spec import HeadSpec
from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.bundle.values import HEAD
from taemi_edge.errors import ContractError
from taemi_edge.export.contract import Model
from taemi_edge.export.inspection import Inspected
from taemi_edge.parity.golden import Case, ModelSpecs, window_cases
from taemi_edge.parity.head_probe import length_errors, order_matters, padding_error, unread_streams

#: Makes golden cases for a model whose shapes are known.
CaseMaker = Callable[[Inspected, ModelSpecs], list[Case]]

#: Outputs that move by no more than this, as a part of the largest or of 1, do not depend on the length.
MOST_LENGTH_ERROR = 1e-4

_HIDDEN_KEYS = (
    ": a softmax whose keys are all masked has no numbers, and neither has a sum over no steps that is divided by 0; "
    "unmask the keys of such rows first with mask = torch.where(mask.sum(1, keepdim=True) == 0, 1, mask), or mask with "
    "-1e9 in place of -inf, and divide by the number of steps with .clamp(min=1)"
)


@dataclass(frozen=True, eq=False)
class Probed:
    """A model whose head was measured.

    Attributes:
        found: the model, its stand-ins as long as they are bound.
        cases: its golden cases.
        streams: for the manifest, with what was measured of each stand-in.
        head: for the manifest.
    """

    found: Inspected
    cases: list[Case]
    streams: dict[str, StreamSpec]
    head: HeadSpec


def probe_head(model: Model, found: Inspected, cases_of: CaseMaker) -> Probed:
    """Make the golden cases of a model, measure its head on them, and choose the length of its stand-ins.

    Args:
        model: as it was declared.
        found: what `taemi_edge.export.inspection.inspect_model` gave.
        cases_of: makes the golden cases.
    """
    cases = cases_of(found, model_specs(model, found))
    _require_finite(found, cases)
    errors = length_errors(found.run, cases, found.tokens, found.streams)
    repeats = _repeats(model, found, cases, errors)
    if repeats:
        found = _repeated(found, repeats)
        cases = cases_of(found, model_specs(model, found))
        _require_finite(found, cases)
    streams = {
        name: msgspec.structs.replace(
            spec, missing=msgspec.structs.replace(spec.missing, length_error=_stored(errors[name]))
        )
        for name, spec in found.streams.items()
    }
    head = HeadSpec(
        masks=found.masks,
        order_matters=order_matters(found.run, cases),
        unread=tuple(unread_streams(found.run, cases)),
        padding_error=_stored(padding_error(found.run, cases, found.streams)),
    )
    return Probed(found, cases, streams, head)


def model_specs(model: Model, found: Inspected) -> ModelSpecs:
    """What golden cases are made for."""
    patterns = tuple(tuple(pattern) for pattern in model.patterns)
    return ModelSpecs(found.streams, model.window_s, HeadSpec(masks=found.masks), patterns)


def _require_finite(found: Inspected, cases: Sequence[Case]) -> None:
    """Refuse a head that gives no numbers where streams are missing, whatever the exporter would make of it."""
    for case in cases:
        wrong = [name for name, value in (case.expected or {}).items() if not np.isfinite(value).all()]
        if case.part == HEAD and wrong:
            raise ContractError(
                f"head: expected finite numbers in {wrong[0]}, got NaN or infinity {_circumstances(found, case)}"
            )


def _circumstances(found: Inspected, case: Case) -> str:
    """When a head gave no numbers, and what to write where that is because a mask hides all steps of a stream."""
    missing = [name for name in found.streams if name not in (case.pattern or ())]
    rows = [name for name in found.streams if not case.feeds.get(f"{name}_mask", np.ones((1, 1))).any(axis=1).all()]
    hidden = rows + [name for name in missing if not found.streams[name].missing.mask]
    if not missing and not rows:
        return f"for the features of a sample ({case.name})"
    where = f"where {' and '.join(missing or rows)} {'is' if len(missing or rows) == 1 else 'are'} missing"
    return where + (_HIDDEN_KEYS if hidden else "")


def _repeats(model: Model, found: Inspected, cases: Sequence[Case], errors: Mapping[str, float]) -> dict[str, int]:
    """How often each stand-in of one step is to be repeated, for streams whose length the head reads."""
    scale = max((float(np.abs(v).max(initial=0)) for c in cases if c.part == HEAD for v in _outputs(c)), default=1.0)
    repeats = {}
    for name, stream in model.streams.items():
        blind = errors[name] <= MOST_LENGTH_ERROR * max(1.0, scale)
        if stream.length_is_open and not blind:
            ordinary = Counter(case.feeds[name].shape[1] for case in window_cases(cases))
            steps = max(ordinary, key=lambda length: (ordinary[length], length), default=1)
            if steps > len(found.tokens[name]):
                repeats[name] = steps
    return repeats


def _repeated(found: Inspected, repeats: Mapping[str, int]) -> Inspected:
    tokens = {n: np.repeat(v[:1], repeats[n], axis=0) if n in repeats else v for n, v in found.tokens.items()}
    streams = {
        name: msgspec.structs.replace(spec, missing=msgspec.structs.replace(spec.missing, steps=len(tokens[name])))
        for name, spec in found.streams.items()
    }
    return replace(found, tokens=tokens, streams=streams)


def _outputs(case: Case) -> list[np.typing.NDArray[np.float32]]:
    return list((case.expected or {}).values())


def _stored(error: float) -> float:
    """A measured error for a manifest: nine digits behind the point, and JSON has no infinity."""
    return round(min(error, 1e9), 9)
