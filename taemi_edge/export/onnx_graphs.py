"""Taking an ONNX graph that others exported into a bundle, and running one as a reference.

Graphs differ in small things: their inputs have other names, ids come as int64, outputs as float16, weights lie in a
second file. `adapt_graph` gives a graph the seam of a bundle (see `TensorSpec`) and leaves what it computes alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, version_converter

from taemi_edge.bundle.values import Array, PartSpec, TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.checks import check_graph, require_one_file
from taemi_edge.export.dynamo import name_dimensions
from taemi_edge.export.example_feeds import Examples, as_tensors
from taemi_edge.export.graph_problems import ROUNDING, open_session, run_session, unread_inputs
from taemi_edge.export.reference_cases import first_line

#: The lowest opset of a bundle: LayerNormalization is one node from here on, and TensorRT 8.6 reads it.
LOWEST_OPSET = 17
#: NumPy's type of an input or output by ONNX Runtime's word for it.
NUMPY_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
_AGAIN = f"export it again at opset {LOWEST_OPSET} with the onnx of this installation, {onnx.__version__}"
#: The IR version that belongs to it. Older ones list every weight among the inputs.
_IR_VERSION = 8


def onnx_reference(file: Path) -> Any:
    """Open an ONNX file as the reference that later stages are held against: ONNX Runtime without optimisations.

    Raises:
        ExportError: the file cannot be opened.
    """
    try:
        return _opened(file)
    except ExportError as error:
        raise ExportError(f"{file}: {error}") from error


def _opened(file: Path) -> Any:
    if problem := _too_new(file):
        raise ExportError(problem)
    try:
        return open_session(file, optimised=False)
    except Exception as error:
        raise ExportError(f"expected an ONNX graph that ONNX Runtime opens, got {in_short(error)}") from error


def _too_new(file: Path) -> str:
    """What is wrong with the versions that a file declares; nothing where they are known, or where it is no graph."""
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception:  # noqa: BLE001  (ONNX Runtime says better what a file is that protobuf cannot read)
        return ""
    opset, newest = _opset(model), onnx.defs.onnx_opset_version()
    if not 0 < model.ir_version <= onnx.IR_VERSION:
        return f"expected an ONNX file of IR version 1 to {onnx.IR_VERSION}, got {model.ir_version or 'none'}: {_AGAIN}"
    if not 0 < opset <= newest:
        return f"expected an ONNX file of opset 1 to {newest}, got {opset or 'none'}: {_AGAIN}"
    return ""


def in_short(error: BaseException) -> str:
    """What ONNX Runtime says of a file or a call, without its codes, its own source lines and signatures."""
    said = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed: ?", "", str(error).strip())
    said = re.sub(r"\S*onnxruntime_src/\S+ (?:[^()]*\([^()]*\)(?: const)?\s?)?|\b\w+\.cc:\d+ \w+ ", "", said)
    lines = said.splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:240]}".rstrip(": ")


def adapt_graph(
    source: Path,
    file: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    lengths: Mapping[str, int],
    renames: Mapping[str, str] | None = None,
    examples: Mapping[str, Array] | None = None,
) -> PartSpec:
    """Write a graph that others exported with the inputs and outputs of a bundle, and prove it by running it.

    Args:
        source: the ONNX file as it was given, with its external data beside it. It is not changed.
        file: the ONNX file to write, named after the part; its weights are inside.
        inputs: the input tensors that the part shall have. Where the graph takes another dtype (int64 ids, boolean
            masks, float16), it is cast.
        outputs: its output tensors; others of the graph are left out.
        lengths: one length for every dynamic dimension of the inputs; others are probed around it.
        renames: our name of an input or output by the name in the graph; those that agree may be left out.
        examples: real values for some inputs, with the batch first.

    Returns:
        The part's entry for the manifest of a bundle.

    Raises:
        ExportError: the graph cannot be read, is of an opset below 17 that cannot be converted, has other inputs,
            outputs, ranks or fixed sizes than described, or does not run at other lengths. No file is left behind.
    """
    try:
        model = _at_opset(_read(source))
        model.ir_version = max(model.ir_version, _IR_VERSION)
        _sort(model.graph)
        require_one_file(sum(len(weight.raw_data) for weight in model.graph.initializer))
        _rename(model.graph, renames or {})
        _adapt_inputs(model.graph, inputs)
        _adapt_outputs(model.graph, outputs)
        onnx.save(model, file)
        try:
            check_graph(file)
        except Exception as error:
            raise ExportError(f"expected a valid graph, the ONNX checker says {first_line(error)}") from error
        _prove(source, file, Examples(inputs, as_tensors(examples or {})), outputs, lengths, renames or {})
    except ExportError as error:
        file.unlink(missing_ok=True)
        raise ExportError(f"{source}: {error}") from error
    parameters = sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)
    return PartSpec(file.name, inputs, outputs, "fp32", _opset(model), parameters, "onnx")


def _read(source: Path) -> Any:
    try:
        return onnx.load(source)
    except FileNotFoundError as error:
        raise ExportError(f"expected the graph and its external data, {error.filename or error} is missing") from error
    except Exception as error:
        raise ExportError(f"expected an ONNX graph, got {first_line(error)}") from error


def _opset(model: Any) -> int:
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _at_opset(model: Any) -> Any:
    """The model at opset 17 or later; an older one is converted if onnx can."""
    opset = _opset(model)
    if opset >= LOWEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, LOWEST_OPSET)
    except Exception as error:
        raise ExportError(
            f"expected opset {LOWEST_OPSET} or later, got {opset}, which onnx cannot convert ({first_line(error)}): "
            f"export the model again with opset_version={LOWEST_OPSET}"
        ) from error


def _sort(graph: Any) -> None:
    """Put every node behind the nodes that make its inputs: some converters append theirs, and ONNX asks for order."""
    nodes = list(graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [{maker[name] for name in _reads(node) if name in maker} for node in nodes]
    if all(all(other < index for other in wanted) for index, wanted in enumerate(needs)):
        return
    ordered: list[int] = []
    done: set[int] = set()
    while len(ordered) < len(nodes):
        ready = [index for index in range(len(nodes)) if index not in done and needs[index] <= done]
        if not ready:
            return  # a circle: the checker says so
        ordered += ready
        done.update(ready)
    kept = [onnx.NodeProto.FromString(nodes[index].SerializeToString()) for index in ordered]
    del graph.node[:]
    graph.node.extend(kept)


def _reads(node: Any) -> set[str]:
    """What a node reads, with what the graphs inside of it read of the graph around them."""
    return set(node.input).union(*(_reads(inner) for body in _bodies(node) for inner in body.node))


def _bodies(node: Any) -> list[Any]:
    """The graphs inside an If, Loop or Scan."""
    return [
        body
        for attribute in node.attribute
        for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))
    ]


def _rename(graph: Any, renames: Mapping[str, str]) -> None:
    """Rename inputs and outputs; a value inside the graph that has one of the new names already makes room."""
    seam = [value.name for value in (*graph.input, *graph.output)]
    unknown = [name for name in renames if name not in seam]
    if unknown:
        raise ExportError(f"expected inputs or outputs to rename, the graph has {', '.join(seam)}, not {unknown[0]}")
    inner = {name for node in graph.node for name in node.output} | {weight.name for weight in graph.initializer}
    taken = inner - {value.name for value in graph.input}
    room = {new: f"{new}__inner" for new in renames.values() if new in taken and new not in renames}
    _rename_values(graph, {**room, **renames})


def _rename_values(graph: Any, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for body in _bodies(node):
            _rename_values(body, names)


def _adapt_inputs(graph: Any, inputs: tuple[TensorSpec, ...]) -> None:
    """Put the described inputs in their order, each with a Cast behind it where the graph takes another dtype."""
    weights = {weight.name for weight in graph.initializer}
    given = {value.name: value for value in graph.input if value.name not in weights}
    names = [spec.name for spec in inputs]
    if set(given) != set(names):
        raise ExportError(
            f"expected the inputs {', '.join(names)}, the graph has {', '.join(given) or 'none'}: name which is which"
        )
    ordered, casts = [], []
    for spec in inputs:
        value = given[spec.name]
        _require_shape(value, spec)
        wanted, takes = _element(spec), value.type.tensor_type.elem_type
        if wanted != takes:
            inner = f"{spec.name}__cast"
            _rename_uses(graph, spec.name, inner)
            casts.append(helper.make_node("Cast", [spec.name], [inner], name=f"cast_{spec.name}", to=takes))
        value.type.tensor_type.elem_type = wanted
        name_dimensions(value, spec)
        ordered.append(value)
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in ordered]
    del graph.input[:]
    graph.input.extend(kept)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    del graph.value_info[:]  # shapes under the names of others


def _rename_uses(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for body in _bodies(node):
            _rename_uses(body, old, new)
    for value in graph.output:
        if value.name == old:
            raise ExportError(f"expected {old} to be computed on, the graph hands it through as an output")


def _adapt_outputs(graph: Any, outputs: tuple[TensorSpec, ...]) -> None:
    """Put the described outputs in their order; float16 and float64 ones are cast to the described dtype."""
    given = {value.name: value for value in graph.output}
    missing = [spec.name for spec in outputs if spec.name not in given]
    if missing:
        raise ExportError(f"expected the output {missing[0]}, the graph has {', '.join(given)}: name which is which")
    kept = []
    for spec in outputs:
        value = onnx.ValueInfoProto.FromString(given[spec.name].SerializeToString())
        if value.type.tensor_type.HasField("shape"):
            _require_shape(value, spec)
        wanted, gives = _element(spec), value.type.tensor_type.elem_type
        if wanted != gives:
            if gives not in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT):
                raise ExportError(f"expected {spec.name} as {spec.dtype}, the graph gives {_dtype_name(gives)}")
            _rename_values_made(graph, spec.name, f"{spec.name}__uncast")
            cast = helper.make_node("Cast", [f"{spec.name}__uncast"], [spec.name], name=f"cast_{spec.name}", to=wanted)
            graph.node.append(cast)
        value.type.tensor_type.elem_type = wanted
        name_dimensions(value, spec)
        kept.append(value)
    del graph.output[:]
    graph.output.extend(kept)


def _rename_values_made(graph: Any, old: str, new: str) -> None:
    """Rename a value that a node makes, and its uses."""
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [new if name == old else name for name in values]
        for body in _bodies(node):
            _rename_values_made(body, old, new)


def _require_shape(value: Any, spec: TensorSpec) -> None:
    """Hold the declared shape of a graph's input or output against its description."""
    dims = list(value.type.tensor_type.shape.dim)
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
    got = f"the graph has ({', '.join(map(str, shape))})"
    want = f"expected {spec.name} ({', '.join(map(str, spec.shape))}), {got}"
    if len(dims) != len(spec.shape):
        raise ExportError(want)
    for size, have in zip(spec.shape, shape, strict=True):
        if isinstance(size, str) and isinstance(have, int):
            raise ExportError(f"{want}: export it again with {size} as a dynamic axis")
        if isinstance(size, int) and isinstance(have, int) and size != have:
            raise ExportError(want)


def _prove(
    source: Path,
    file: Path,
    examples: Examples,
    outputs: tuple[TensorSpec, ...],
    lengths: Mapping[str, int],
    renames: Mapping[str, str],
) -> None:
    """Run the adapted graph beside the given one at several lengths."""
    inputs = examples.inputs
    if unread := unread_inputs(onnx.load(file), [spec.name for spec in inputs]):
        raise ExportError(f"expected a graph that reads all of its inputs, it does not read {', '.join(unread)}")
    reference, adapted = _opened(source), _opened(file)
    theirs = {new: old for old, new in renames.items()}
    takes = {value.name: NUMPY_TYPES[value.type] for value in reference.get_inputs() if value.type in NUMPY_TYPES}
    gives = [value.name for value in reference.get_outputs()]
    for label, at in _probes({d for spec in inputs for d in spec.shape if isinstance(d, str)}, lengths):
        feeds = {name: value.numpy() for name, value in examples.at(at).items()}
        given = {theirs.get(name, name): value for name, value in feeds.items()}
        want = run_session(reference, {name: value.astype(takes[name]) for name, value in given.items()})
        got = run_session(adapted, feeds)
        if want is None or got is None:
            raise ExportError(
                f"expected a graph that runs at any length, it fails {label}: export it with dynamic axes"
            )
        for spec, value in zip(outputs, got, strict=True):
            expected = want[gives.index(theirs.get(spec.name, spec.name))].astype(value.dtype)
            _require_output(spec, value, expected, at, label)


def _probes(dimensions: set[str], lengths: Mapping[str, int]) -> list[tuple[str, dict[str, int]]]:
    at = {name: lengths[name] for name in sorted(dimensions)}
    probes = [("at the lengths that were given", at)]
    for name, length in at.items():
        probes.append((f"at {name} = {length + max(1, length // 2)}", {**at, name: length + max(1, length // 2)}))
    return probes


def _require_output(spec: TensorSpec, value: Any, expected: Any, lengths: Mapping[str, int], label: str) -> None:
    shape = [lengths.get(d) if isinstance(d, str) else d for d in spec.shape]
    if value.ndim != len(shape) or any(s not in (None, v) for s, v in zip(shape, value.shape, strict=True)):
        raise ExportError(f"expected {spec.name} ({', '.join(map(str, spec.shape))}), it gives {value.shape} {label}")
    if not np.isfinite(value).all():
        raise ExportError(f"expected finite numbers in {spec.name}, it gives NaN or infinity {label}")
    if np.abs(value - expected).max(initial=0) > ROUNDING * np.abs(expected).max(initial=0) + 1e-6:
        raise ExportError(f"expected what the given graph gives, {spec.name} differs {label}")


def _element(spec: TensorSpec) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)))


def _dtype_name(element: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(element))
