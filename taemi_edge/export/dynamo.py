"""PyTorch's dynamo exporter, in a process of its own.

Two things ask for the process. A second export in one process gave LSTMs of fixed length (PyTorch 2.13). And the
exporter writes to standard output and keeps hundreds of megabytes. The process is forked, not spawned: a module whose
class stands in the user's own file cannot be pickled, and a forked process has it already.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.export import Dim

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.bundle.workers import end_with_parent
from taemi_edge.errors import ExportError, MissingExtraError
from taemi_edge.export.causes import Place, TraceError, packing_refused, places_of
from taemi_edge.export.modules import with_outputs_in_order
from taemi_edge.export.reference_cases import Declared, first_line

#: The first opset that this exporter writes by itself; a lower one is a conversion that fails for many operators.
DYNAMO_OPSET = 18

#: An export that takes longer hangs: the slowest head that was tried took 76 s.
LIMIT_S = 900


def trace_in_child(declared: Declared, file: Path, *, lengths: Mapping[str, int], opset: int) -> list[Place]:
    """Export a module with the dynamo exporter; it runs in a forked process, so this process stays as it is.

    Returns:
        No places: unlike the tracer, this exporter raises where a value leaves the graph.

    Raises:
        TraceError: the exporter failed; it carries the places in the module's code.
        MissingExtraError: onnxscript is not installed.
    """
    if find_spec("onnxscript") is None:
        raise MissingExtraError("onnxscript", "export", "PyTorch's dynamo exporter")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    task = (sender, os.getpid(), declared, file, lengths, opset)
    child = context.Process(target=_export_and_tell, args=task, daemon=True)
    with warnings.catch_warnings():
        # CPython 3.12 warns that threads do not live on in the child: it starts with one thread and needs no other
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sender.close()
    try:
        failure = receiver.recv() if receiver.poll(LIMIT_S) else TraceError(f"no result after {LIMIT_S} s")
    except EOFError:
        child.join()
        failure = TraceError(f"its process ended with code {child.exitcode}: is there enough memory?")
    finally:
        receiver.close()
        child.kill()
        child.join()
    if failure is not None:
        raise failure
    repair_names(file, declared.examples.inputs, declared.outputs)
    return []


def repair_names(file: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Give the dimensions of a graph the names of its description, and drop what tells of the machine it was made on.

    The exporter calls a dimension `s98`, and gives ids and their mask different names for one batch. Profiles of
    engines are made by name. Its nodes carry the lines and paths of the user's code, which nothing reads later.

    Raises:
        ExportError: the graph has other inputs or outputs than described.
    """
    model = onnx.load(file)
    for kind, values, specs in (("inputs", model.graph.input, inputs), ("outputs", model.graph.output, outputs)):
        if [value.name for value in values] != [spec.name for spec in specs]:
            raise ExportError(
                f"expected a graph with the {kind} {', '.join(spec.name for spec in specs)}, "
                f"got {', '.join(value.name for value in values) or 'none'}"
            )
        for value, spec in zip(values, specs, strict=True):
            name_dimensions(value, spec)
    del model.graph.value_info[:]
    _forget_places(model.graph)
    onnx.save(model, file)


def name_dimensions(value: Any, spec: TensorSpec) -> None:
    """Declare the shape of an input or output of a graph as its description has it."""
    del value.type.tensor_type.shape.dim[:]
    for size in spec.shape:
        dimension = value.type.tensor_type.shape.dim.add()
        if isinstance(size, str):
            dimension.dim_param = size
        else:
            dimension.dim_value = size


def _forget_places(graph: Any) -> None:
    for thing in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                del body.value_info[:]
                _forget_places(body)


def _export_and_tell(
    sender: Connection, parent: int, declared: Declared, file: Path, lengths: Mapping[str, int], opset: int
) -> None:
    """What the child does: None over the pipe is success."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, args=(parent,), daemon=True).start()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    torch.set_num_threads(1)
    try:
        _export(declared, file, lengths, opset)
    except BaseException as error:  # noqa: BLE001  (the parent hears of everything)
        cause = _deepest(error)
        sender.send(TraceError(first_line(cause), places_of(cause)))
    else:
        sender.send(None)


def _export(declared: Declared, file: Path, lengths: Mapping[str, int], opset: int) -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    inputs, outputs = declared.examples.inputs, declared.outputs
    feeds = declared.examples.at(lengths)
    shapes = [{i: Dim.DYNAMIC for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in inputs]
    module = with_outputs_in_order(declared.module, feeds, outputs)
    with torch.no_grad(), packing_refused():
        program = torch.onnx.export(
            module,
            tuple(feeds.values()),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_shapes=_as_taken(module, inputs, shapes),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise TraceError("the exporter gave nothing")
    program.save(str(file), external_data=False)


def _as_taken(module: torch.nn.Module, inputs: tuple[TensorSpec, ...], shapes: list[dict[int, Any]]) -> Any:
    """Dynamic shapes in the structure of `forward`: a `*inputs` takes them as one tuple."""
    code = getattr(type(module).forward, "__code__", None)
    if code is None or not code.co_flags & 0x04:  # CO_VARARGS
        return tuple(shapes)
    named = code.co_argcount - 1  # without self
    return (*shapes[:named], tuple(shapes[named : len(inputs)]))


def _deepest(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
