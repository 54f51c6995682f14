"""What is wrong with an exported graph: inputs that it does not read, lengths that it froze, values that differ.

What a graph declares proves nothing: an exporter can write a traced length into the graph as a constant and still
declare the dimension dynamic, or drop a mask and still give the right shapes. So the graph is run on every case of
`taemi_edge.export.reference_cases`, and its values are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export.modules import in_evaluation, run_module
from taemi_edge.export.reference_cases import Case, Declared

#: How far a graph may be from PyTorch, as a part of the largest value. Rounding in FP32 stays a hundred times below
#: it; a mask that is not read, or a length that is frozen, is far above.
ROUNDING = 1e-3

#: Operators that read the shape of a tensor and none of its values.
_SHAPES = frozenset({"Shape", "Size"})


def graph_problems(file: Path, declared: Declared, cases: list[Case], traced: Mapping[str, int]) -> list[str]:
    """List what is wrong with a graph, in words that follow "the exporter"; empty where it does what PyTorch does.

    Args:
        file: the ONNX file.
        declared: the module that it was exported from, with its inputs and outputs.
        cases: feeds with PyTorch's outputs.
        traced: the length of every dynamic dimension while tracing.
    """
    unread = unread_inputs(onnx.load(file, load_external_data=False), [spec.name for spec in declared.examples.inputs])
    if unread:
        return [_unread(declared, cases[0], name) for name in unread]
    session = open_session(file)
    problems: list[str] = []
    frozen: list[str] = []
    for case in cases:
        if case.dimension in frozen:
            continue
        got = run_session(session, {name: value.numpy() for name, value in case.feeds.items()})
        shapes = {name: tuple(value.shape) for name, value in case.want.items()}
        if got is None or [value.shape for value in got] != list(shapes.values()):
            length = f"traced at {traced[case.dimension]}; " if case.dimension else ""
            given = "an error" if got is None else _shapes([value.shape for value in got])
            what = f"froze {case.dimension}" if case.dimension else "made a graph that does not run"
            problems.append(f"{what} ({length}{case.label} expected {_shapes(list(shapes.values()))}, got {given})")
            frozen += [case.dimension] if case.dimension else []
        else:
            problems += _differences(case, got)
    return problems


def unread_inputs(model: Any, names: list[str]) -> list[str]:
    """List the inputs whose values no output of a graph depends on; reading their shape does not count.

    Args:
        model: an `onnx.ModelProto`.
        names: the inputs that the graph must read.
    """
    return [name for name in names if name not in _needed(model.graph)]


def open_session(file: Path, *, optimised: bool = True) -> Any:
    """Open an ONNX file with ONNX Runtime on the CPU; its own messages stay silent, failures are exceptions."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"], enable_fallback=0)


def run_session(session: Any, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]] | None:
    """Run a session; None where it fails: that is an answer here, not an error."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    try:
        outputs: list[npt.NDArray[Any]] = session.run(None, dict(feeds), options)
    except Exception:  # noqa: BLE001  (ONNX Runtime's errors share no public base)
        return None
    return outputs


def _differences(case: Case, got: list[npt.NDArray[Any]]) -> Iterator[str]:
    for (name, want), value in zip(case.want.items(), got, strict=True):
        expected = want.numpy()
        if name in case.live:
            live = case.live[name].numpy()
            expected, value = expected[live], value[live]
        if value.dtype != expected.dtype:
            yield f"gives {name} as {value.dtype} in place of {expected.dtype}"
        elif not np.isfinite(value).all():
            yield f"gives NaN or infinity in {name} {case.label}"
        else:
            difference = float(np.abs(value.astype(np.float64) - expected).max(initial=0))
            largest = float(np.abs(expected.astype(np.float64)).max(initial=0))
            if difference > ROUNDING * largest + 1e-6:
                yield f"gives other values than PyTorch {case.label} ({name}: {difference:.2g} of {largest:.2g})"


def _unread(declared: Declared, case: Case, name: str) -> str:
    if _reads(declared.module, declared.outputs, case, name):
        return f"made a graph that does not read {name}, which PyTorch reads"
    hint = f": multiply the features by {name}[..., None]" if name.endswith("mask") else ""
    return f"made a graph that does not read {name}, and forward does not use it either{hint}"


@torch.no_grad()
def _reads(module: nn.Module, outputs: tuple[TensorSpec, ...], case: Case, name: str) -> bool:
    """Does PyTorch give something else when one input changes?"""
    value = case.feeds[name]
    changed: Tensor = value.flip(0) if value.is_floating_point() else value.flip(1 if value.dim() > 1 else 0)
    with in_evaluation(module):
        got = run_module(module, {**case.feeds, name: changed}, outputs)
    return any(not torch.equal(got[key], want) for key, want in case.want.items())


def _needed(graph: Any) -> set[str]:
    """The names of all values that the outputs of a graph are computed from."""
    makers = {output: node for node in graph.node for output in node.output}
    needed: set[str] = set()
    waiting = [value.name for value in graph.output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        node = makers.get(name)
        if node is not None and node.op_type not in _SHAPES:
            waiting += [value for value in node.input if value]
            for attribute in node.attribute:  # the bodies of If, Loop and Scan read values of the graph around them
                for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                    waiting += _needed(body)
    return needed


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
