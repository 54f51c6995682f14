"""Tracing a PyTorch module into an ONNX graph whose batch sizes and lengths stay dynamic.

The module can be any: what it takes and gives is described by `TensorSpec`s, in which a string names a dynamic
dimension. `taemi_edge.export.checks` proves afterwards that these dimensions really are dynamic.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.checks import check_graph, frozen_dimensions
from taemi_edge.export.example_feeds import example_feeds


def export_module(
    module: nn.Module,
    file: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    lengths: Mapping[str, int],
    opset: int,
) -> PartSpec:
    """Export a module as an ONNX file, and check the graph and its dynamic dimensions.

    Args:
        module: in evaluation mode; its `forward` takes the inputs in their order and gives one tensor.
        file: the ONNX file to write, named after the part, such as `vision.onnx`.
        inputs: the input tensors; a string in a shape names a dimension that must stay dynamic.
        outputs: the output tensors, described in the same way.
        lengths: the length of every dynamic dimension while tracing.
        opset: the ONNX opset.

    Returns:
        The part's entry for the manifest of a bundle.

    Raises:
        ExportError: the exporter froze a dynamic dimension.
    """
    trace_module(module, file, inputs, outputs, lengths=lengths, opset=opset)
    check_graph(file)
    if frozen := frozen_dimensions(file, module, inputs, lengths):
        raise ExportError(f"{file.stem}: expected dynamic dimensions, the exporter froze {', '.join(frozen)}")
    return PartSpec(
        file=file.name,
        inputs=inputs,
        outputs=outputs,
        precision="fp32",
        opset=opset,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )


def trace_module(
    module: nn.Module,
    file: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    lengths: Mapping[str, int],
    opset: int,
) -> None:
    """Trace a module into an ONNX file; see `export_module` for the arguments.

    This uses PyTorch's TorchScript exporter: it is the one that reaches opset 17, which TensorRT 8.6 reads.
    """
    dynamic = {
        spec.name: {i: d for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in (*inputs, *outputs)
    }
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # the tracer warns of every Python branch on a shape; that no length was frozen is checked afterwards
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(example_feeds(inputs, lengths).values()),
                str(file),
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_axes=dynamic,
                opset_version=opset,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
