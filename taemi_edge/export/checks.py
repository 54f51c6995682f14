"""Checks of what was exported: is the ONNX graph valid, and does the bundle agree with PyTorch."""

from __future__ import annotations

from pathlib import Path

import onnx

from taemi_edge.errors import CheckFailedError, ExportError
from taemi_edge.parity.comparison import ParityReport, check_parity

#: A protobuf file ends at 2 GiB; the graph itself needs some of it.
MOST_BYTES = 2**31 - 2**24


def check_graph(file: Path) -> None:
    """Run the ONNX checker with shape inference on a file.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    onnx.checker.check_model(onnx.load(file), full_check=True)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph is written in; 0 where it names none."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def spectral_operators(graph: bytes) -> list[str]:
    """The Fourier transforms of a graph: ONNX Runtime has them, and TensorRT does not compile them."""
    return sorted({node.op_type for node in onnx.load_model_from_string(graph).graph.node} & {"DFT", "STFT"})


def require_one_file(weight_bytes: int) -> None:
    """Refuse weights that do not fit into an ONNX file in one piece, before an exporter fails on them late.

    Raises:
        ExportError: they are too large.
    """
    if weight_bytes > MOST_BYTES:
        raise ExportError(
            f"expected weights of at most {MOST_BYTES / 1e9:.2f} GB, which an ONNX file holds, got "
            f"{weight_bytes / 1e9:.2f} GB in float32: take a smaller encoder or fewer of its layers"
        )


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
    if not case.max_abs < float("inf"):
        return (
            f"{stage.stage}, {case.case}: expected the finite numbers of the model, the graph gives NaN or infinity; a "
            f"softmax whose keys are all masked is the usual cause: nothing was written"
        )
    return (
        f"{stage.stage}, {case.case}: expected at most {stage.limit_of(case):g} from PyTorch and a cosine of at "
        f"least {stage.tolerance.cosine:g}, got {case.max_abs:.3g} and {case.cosine:.6f}: nothing was written"
    )
