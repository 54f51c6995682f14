"""Exporting a PyTorch module as an ONNX graph whose batch sizes and lengths stay dynamic.

The module can be any: what it takes and gives is described by `TensorSpec`s, in which a string names a dynamic
dimension. PyTorch has two exporters. TorchScript's comes first: it is fast, and reaches opset 17, which TensorRT 8.6
reads. Where it fails, or makes a graph that does not do what PyTorch does, the dynamo exporter is tried in a process
of its own (`taemi_edge.export.dynamo`). Whatever comes out is run beside PyTorch before it counts.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import onnx
import torch
from torch import Tensor, nn

from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.attention import written_out_attention
from taemi_edge.export.causes import Attempt, Place, explain, packing_refused, places_of
from taemi_edge.export.checks import check_graph, opset_of, require_one_file
from taemi_edge.export.dynamo import DYNAMO_OPSET, trace_in_child
from taemi_edge.export.example_feeds import Examples
from taemi_edge.export.graph_problems import graph_problems
from taemi_edge.export.modules import in_evaluation, with_outputs_in_order
from taemi_edge.export.reference_cases import Case, Declared, first_line, fitting_ids, reference_cases

Exporter = Literal["torchscript", "dynamo"]


def export_module(
    module: nn.Module,
    file: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    lengths: Mapping[str, int],
    opset: int,
    examples: Mapping[str, Tensor] | None = None,
) -> PartSpec:
    """Export a module as an ONNX file that does what PyTorch does: at other lengths and under ragged masks too.

    Args:
        module: on the CPU; its `forward` takes the inputs in their order and gives one tensor, a tuple in the order of
            the outputs, or a dict with their names. It is in evaluation mode afterwards.
        file: the ONNX file to write, named after the part, such as `vision.onnx`.
        inputs: the input tensors; a string in a shape names a dimension that must stay dynamic. An int32 input named
            `mask` or `X_mask` is a mask.
        outputs: the output tensors, described in the same way. Where one has the batch and steps of a mask, only the
            steps that are not masked are compared.
        lengths: the length of every dynamic dimension while tracing; a batch of 2 or more, no two lengths equal.
        opset: the ONNX opset; the dynamo exporter takes 18 where less is asked for.
        examples: real values for some inputs, with the batch first; ids are best taken from real text.

    Returns:
        The part's entry for the manifest of a bundle. It names the exporter that made the graph.

    Raises:
        ExportError: neither exporter made a graph that does what PyTorch does, or the module does not do what its
            inputs and outputs declare; the message names the cause and, where it is known, what to write instead. No
            file is left behind.

    Example:
        >>> x = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
        >>> y = TensorSpec(name="y", dtype="float32", shape=("batch", 2))
        >>> export_module(nn.Linear(4, 2), Path("linear.onnx"), (x,), (y,), lengths={"batch": 2}, opset=17).exporter
        'torchscript'
    """
    lengths = {d: lengths[d] for spec in inputs for d in spec.shape if isinstance(d, str)}
    with in_evaluation(module):
        try:
            require_one_file(sum(weight.numel() * weight.element_size() for weight in module.parameters()))
            feeds = fitting_ids(module, Examples(inputs, examples or {}), lengths)
            declared = Declared(module, feeds, outputs)
            cases = reference_cases(declared, lengths)
        except ExportError as error:
            raise ExportError(f"{file.stem}: {error}") from error
        exporter, used_opset = _first_that_holds(declared, file, cases, lengths, opset)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return PartSpec(file.name, inputs, outputs, "fp32", used_opset, parameters, exporter)


def _first_that_holds(
    declared: Declared, file: Path, cases: list[Case], lengths: Mapping[str, int], opset: int
) -> tuple[Exporter, int]:
    """Try one exporter after the other until a graph does what PyTorch does."""
    attempts = []
    ways: tuple[tuple[Exporter, int, Callable[..., list[Place]]], ...] = (
        ("torchscript", opset, trace_module),
        ("dynamo", max(opset, DYNAMO_OPSET), trace_in_child),
    )
    for exporter, at_opset, trace in ways:
        try:
            places = trace(declared, file, lengths=lengths, opset=at_opset)
            check_graph(file)
            problems = graph_problems(file, declared, cases, lengths)
        except Exception as error:  # noqa: BLE001  (an exporter meets a user's module: it may raise anything)
            attempts.append(Attempt(exporter, [f"failed ({first_line(error)})"], places_of(error)))
            continue
        if not problems:
            return exporter, opset_of(onnx.load(file, load_external_data=False))
        attempts.append(Attempt(exporter, problems, places))
    file.unlink(missing_ok=True)
    raise ExportError(explain(file.stem, declared.module, attempts))


def trace_module(declared: Declared, file: Path, *, lengths: Mapping[str, int], opset: int) -> list[Place]:
    """Trace a module with the TorchScript exporter.

    Returns:
        The places of which the tracer warned that a value or a length left the graph there.
    """
    inputs, outputs = declared.examples.inputs, declared.outputs
    feeds = declared.examples.at(lengths)
    dynamic = {
        spec.name: {i: d for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in (*inputs, *outputs)
    }
    module = with_outputs_in_order(declared.module, feeds, outputs)
    with _told() as caught, torch.no_grad(), packing_refused(), written_out_attention(module):
        torch.onnx.export(
            module,
            tuple(feeds.values()),
            str(file),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_axes=dynamic,
            opset_version=opset,
            dynamo=False,
        )
    module.eval()
    return [
        Place(warning.filename, warning.lineno) for warning in caught if warning.category.__name__ == "TracerWarning"
    ]


@contextmanager
def _told() -> Iterator[list[warnings.WarningMessage]]:
    """Catch what the exporter warns of, and silence what it prints from C++: the whole graph, where it fails.

    A warning of a branch on a shape does no harm if the graph is right.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        for number, original in enumerate(kept, start=1):
            os.dup2(original, number)
            os.close(original)
        os.close(silence)
