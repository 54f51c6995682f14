"""What PyTorch gives for example feeds of many lengths: the cases that an exported graph must reproduce.

They are made before anything is exported. A module that cannot do what its description says is refused here, by what
PyTorch itself gives: no exporter could help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.causes import TraceError
from taemi_edge.export.example_feeds import Examples, is_mask, with_garbage
from taemi_edge.export.modules import in_evaluation, largest_ids, run_module


@dataclass(frozen=True)
class Case:
    """Feeds, and what PyTorch gives for them.

    Attributes:
        label: what is particular about it, such as "at tokens = 3".
        feeds: the inputs by name.
        want: PyTorch's outputs by name.
        live: for every output the steps that count, as booleans (batch, steps); none where all of it counts.
        dimension: the dynamic dimension that has another length than while tracing, if one has.
    """

    label: str
    feeds: dict[str, Tensor]
    want: dict[str, Tensor]
    live: dict[str, Tensor]
    dimension: str | None = None


@dataclass(frozen=True)
class Declared:
    """A module on the CPU, what makes its feeds, and the outputs that it was declared to give."""

    module: nn.Module
    examples: Examples
    outputs: tuple[TensorSpec, ...]


def fitting_ids(module: nn.Module, examples: Examples, lengths: Mapping[str, int]) -> Examples:
    """Let the ids of the examples range as far as the module's embeddings reach.

    The largest embedding is the vocabulary in most models, and the positions in others, so what runs is what counts.
    """
    free = [spec for spec in examples.inputs if spec.dtype.startswith("int") and not is_mask(spec)]
    if all(spec.name in examples.given for spec in free):
        return examples
    for limit in largest_ids(module):
        candidate = replace(examples, ids_below=limit)
        try:
            with torch.no_grad():
                module(*candidate.at(lengths).values())
        except (IndexError, RuntimeError):
            continue
        return candidate
    return examples


def reference_cases(declared: Declared, traced: Mapping[str, int]) -> list[Case]:
    """Run a module at the traced lengths and at others, with ragged masks, full ones, and garbage behind the masks.

    Args:
        declared: the module with its inputs and outputs; a string in a shape names a dynamic dimension.
        traced: the length of every dynamic dimension while tracing.

    Raises:
        ExportError: PyTorch fails, gives another shape or dtype than declared or no finite numbers, or takes one length
            only of a dimension that was declared dynamic.
    """
    inputs = declared.examples.inputs
    with in_evaluation(declared.module), torch.no_grad():
        feeds = declared.examples.at(traced)
        try:
            cases = [_case(declared, feeds, traced, "at the traced lengths")]
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(f"expected a module that runs on {_described(feeds)}, got {first_line(error)}") from error
        if any(map(is_mask, inputs)):
            cases.append(_case(declared, declared.examples.at(traced, masks="full"), traced, "under masks of ones"))
            cases += _garbage_case(declared, traced)
        for dimension in sorted({d for spec in inputs for d in spec.shape if isinstance(d, str)}):
            cases += _length_cases(declared, traced, dimension)
        return cases


def live_steps(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], feeds: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The steps that count, as booleans (batch, steps), of every output that has the batch and steps of a mask."""
    return {
        output.name: feeds[mask.name].bool()
        for output in outputs
        for mask in inputs
        if is_mask(mask) and mask.shape == output.shape[:2]
    }


def first_line(error: BaseException) -> str:
    """An exception in one line, with its type."""
    if type(error) is TraceError:  # it says already what was raised in the other process
        return str(error)
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}".rstrip(": ")


def _garbage_case(declared: Declared, traced: Mapping[str, int]) -> list[Case]:
    """The case with other values at masked positions, unless PyTorch reads them and overflows."""
    feeds = with_garbage(declared.examples.inputs, declared.examples.at(traced))
    want = run_module(declared.module, feeds, declared.outputs)
    if not all(value.isfinite().all() for value in want.values()):
        return []
    return [_case(declared, feeds, traced, "with other values at masked positions")]


def _length_cases(declared: Declared, traced: Mapping[str, int], dimension: str) -> list[Case]:
    """A shorter and a longer length; where PyTorch takes neither (a patch size, a kernel), a few others."""
    length = traced[dimension]
    cases: list[Case] = []
    failures = {}
    for tried, other in enumerate((max(1, length // 2), length + max(1, length // 2), 2 * length, length + 1)):
        if other == length or (tried >= 2 and cases):
            continue
        lengths = {**traced, dimension: other}
        try:
            cases.append(
                _case(declared, declared.examples.at(lengths), lengths, f"at {dimension} = {other}", dimension)
            )
        except ExportError:
            raise
        except Exception as error:  # noqa: BLE001  (a user's module may raise anything)
            failures[other] = first_line(error)
    if not cases:
        other, why = next(iter(failures.items()))
        raise ExportError(
            f"expected a module that takes any length of {dimension}, as its inputs declare, but PyTorch runs at "
            f"{length} and fails at {' and '.join(map(str, failures))} (at {other}: {why}): declare a fixed length"
        )
    return cases


def _case(
    declared: Declared,
    feeds: dict[str, Tensor],
    lengths: Mapping[str, int],
    label: str,
    dimension: str | None = None,
) -> Case:
    """Run PyTorch, and hold what it gave against the declared outputs."""
    want = run_module(declared.module, feeds, declared.outputs)
    live = live_steps(declared.examples.inputs, declared.outputs, feeds)
    for spec in declared.outputs:
        value = want[spec.name]
        expected = [lengths.get(d) if isinstance(d, str) else d for d in spec.shape]
        fits = value.dim() == len(expected) and all(
            size in (None, have) for size, have in zip(expected, value.shape, strict=True)
        )
        dtype = str(value.dtype).removeprefix("torch.")
        if not fits or dtype != spec.dtype:
            raise ExportError(
                f"expected {spec.name} as {spec.dtype} ({', '.join(map(str, spec.shape))}), the module gives {dtype} "
                f"({', '.join(map(str, value.shape))}) {label}: declare what it gives, or change the module"
            )
        if not value[live.get(spec.name, ...)].isfinite().all():
            raise ExportError(f"expected finite numbers in {spec.name}, PyTorch itself gives NaN or infinity {label}")
    return Case(label, feeds, want, live, dimension)


def _described(feeds: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({', '.join(map(str, value.shape))})" for name, value in feeds.items())
