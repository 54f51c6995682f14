"""Running the ONNX graphs that calibration makes, with ONNX Runtime on one thread.

These sessions serve measurements. Live runs and files use the sessions of `runtime/onnx_sessions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from taemi_edge.bundle.precisions import HOST_FLAVOURS, Flavour
from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.bf16 import emulate_bf16
from taemi_edge.calibration.graphs.graph import Graph, with_all_outputs
from taemi_edge.runtime import processor
from taemi_edge.runtime.onnx_sessions import FATAL_OPTIMISERS, FP8_OPTIMISERS, fatal_after_casts, let_go_of_content

#: Runs a graph once: arrays by the names of its inputs to arrays by the names of its outputs.
GraphRunner = Callable[[Mapping[str, Array]], dict[str, Array]]


def runnable_graph(file: Path, flavour: Flavour) -> bytes:
    """Read a graph as ONNX Runtime's CPU can compute it: one of BF16, which has no kernels there, is emulated."""
    content = file.read_bytes()
    return emulate_bf16(Graph.of_bytes(content, str(file))).bytes() if flavour == "bf16" else content


def open_graph(model: bytes | str, flavour: Flavour = "fp32") -> Any:
    """Open an ONNX Runtime session on one thread that computes Q/DQ pairs as they are written.

    ONNX Runtime would fuse them into integer kernels. Those saturate on x86 processors without VNNI, and what they
    compute there is not what the graph says (docs/how-to/precision.md has figures). The flavours for processors are
    meant for these kernels: where the kernels are exact, they compute.

    Args:
        model: the path of an ONNX file, or its content.
        flavour: of the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if flavour not in HOST_FLAVOURS or not processor.kernels_are_exact():
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    content = model if isinstance(model, bytes) else Path(model).read_bytes()
    disabled = [*FATAL_OPTIMISERS, *fatal_after_casts(content), *FP8_OPTIMISERS]
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
    let_go_of_content(session)
    return session


def runner_of(model: bytes | str, flavour: Flavour = "fp32") -> GraphRunner:
    """Open a graph and give a function that computes its outputs.

    Args:
        model: the path of an ONNX file, or its content.
        flavour: of the graph.
    """
    session = open_graph(model, flavour)
    run = _runner(session, [output.name for output in session.get_outputs()])
    return _row_by_row(run) if flavour == "int8-dynamic" else run


def _row_by_row(run: GraphRunner) -> GraphRunner:
    """Run the rows of a batch one at a time, as live runs do where a range is that of all rows together."""

    def run_rows(feeds: Mapping[str, Array]) -> dict[str, Array]:
        counts = {len(value) for value in feeds.values() if value.ndim}
        if len(counts) != 1 or counts == {1}:
            return run(feeds)
        rows = [run({name: value[row : row + 1] for name, value in feeds.items()}) for row in range(counts.pop())]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return run_rows


def runner_of_all_tensors(graph: Graph) -> GraphRunner:
    """Open a graph and give a function that computes every tensor that one of its nodes makes."""
    model, names = with_all_outputs(graph)
    return _runner(open_graph(model), names)


def _runner(session: Any, names: list[str]) -> GraphRunner:
    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run
