"""Checks of what was exported: is the ONNX graph valid, are its dimensions dynamic, does it agree with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import CheckFailedError
from taemi_edge.export.example_feeds import example_feeds
from taemi_edge.parity.comparison import ParityReport, check_parity


def check_graph(file: Path) -> None:
    """Run the ONNX checker with shape inference on a file.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    onnx.checker.check_model(onnx.load(file), full_check=True)


@torch.no_grad()
def frozen_dimensions(
    file: Path, module: nn.Module, inputs: tuple[TensorSpec, ...], traced: Mapping[str, int]
) -> list[str]:
    """Find the dimensions at whose other lengths the graph fails or gives another shape than PyTorch.

    What a graph declares proves nothing: the exporter can write a traced length into the graph as a constant and still
    declare the dimension symbolic. So the graph is run at a shorter and at a longer length of each dimension.

    Args:
        file: the ONNX file.
        module: the module that it was traced from.
        inputs: the input tensors; a string in a shape names a dynamic dimension.
        traced: the length of every dynamic dimension while tracing.

    Returns:
        One text for each frozen dimension, such as "tokens (traced at 7; at 3 expected (2, 3), got an error)".
    """
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    frozen = []
    for dim in sorted({d for spec in inputs for d in spec.shape if isinstance(d, str)}):
        for length in (max(1, traced[dim] // 2), traced[dim] + traced[dim] // 2):
            example = example_feeds(inputs, {**traced, dim: length})
            want = tuple(module(*example.values()).shape)
            got = _output_shape(session, {name: value.numpy() for name, value in example.items()})
            if got != want:
                frozen.append(f"{dim} (traced at {traced[dim]}; at {length} expected {want}, got {got or 'an error'})")
                break
    return frozen


def _output_shape(session: Any, feeds: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape of the only output, or None where the graph cannot run."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # a failure is an answer here, not a message
    try:
        shape: tuple[int, ...] = session.run(None, feeds, options)[0].shape
    except Exception:  # noqa: BLE001  (ONNX Runtime's errors share no public base)
        return None
    return shape


def require_parity(folder: Path) -> ParityReport:
    """Compare a bundle that was just written with the PyTorch outputs in its `golden.npz`.

    Raises:
        CheckFailedError: a part is further from PyTorch than its tolerance; the message names the part and the case.
    """
    report, _ = check_parity(str(folder))
    if not report.ok:
        raise CheckFailedError(_failure(report))
    return report


def _failure(report: ParityReport) -> str:
    stage = next(stage for stage in report.stages if not stage.ok)
    case = next((case for case in stage.cases if not case.ok), stage.cases[0])
    return (
        f"{stage.stage}, {case.case}: expected at most {stage.tolerance.max_abs:g} from PyTorch and a cosine of at "
        f"least {stage.tolerance.cosine:g}, got {case.max_abs:.3g} and {case.cosine:.6f}: nothing was written"
    )
