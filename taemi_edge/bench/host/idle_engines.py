"""A bundle of engines for the idle device, made of any bundle: each engine holds the name of its part alone."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from taemi_edge.bench.host.idle_device import VERSION
from taemi_edge.bundle.folder import Bundle, open_bundle, tokenizer_names, write_manifest
from taemi_edge.bundle.graph_source import find_graphs
from taemi_edge.bundle.records import EngineRecord
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.onnx_sessions import OrtSession


def machine(with_gpu: bool) -> dict[str, str]:
    """This machine, as the runtime describes it; with the idle device where that is asked for."""
    place = "taemi_edge.runtime.tensorrt."
    try:
        module = importlib.import_module(f"{place}machine")
    except ModuleNotFoundError:  # checkouts of November 2026 and before have it with the library
        module = importlib.import_module(f"{place}library")
    found = msgspec.to_builtins(module.this_machine(with_gpu=with_gpu))
    return {name: value for name, value in found.items() if value}


def graphs_behind(bundle: Bundle) -> Bundle:
    """The bundle itself where it holds graphs; else the graphs that its engines were built from.

    Raises:
        BundleError: they are not there any more.
    """
    return bundle if bundle.manifest.engine is None else open_bundle(find_graphs(bundle))


def engine_bundle(graphs: Bundle, folder: Path) -> Bundle:
    """Write a bundle of idle engines into an empty folder; the idle device must be there."""
    manifest = graphs.manifest
    for part in manifest.parts:
        (folder / f"{part}.engine").write_bytes(part.encode())
    for name in tokenizer_names(manifest):
        (folder / name).write_bytes(graphs.read(name))
    record = EngineRecord(
        target="idle",
        backend="tensorrt",
        library=f"tensorrt {VERSION}",
        machine=machine(with_gpu=True),
        source=str(graphs.folder),
        asked="fp32",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
    )
    parts = {part: msgspec.structs.replace(spec, file=f"{part}.engine") for part, spec in manifest.parts.items()}
    idle = msgspec.structs.replace(manifest, parts=parts, verified=True, engine=record)
    return Bundle(folder, write_manifest(folder, idle), graphs.tokens)


class ShapesOfGraphs:
    """Says what shapes the parts of a bundle of graphs give, without running them wherever the manifest says enough.

    Args:
        graphs: the bundle. An encoder is run once for each length of its inputs if its number of steps has a name that
            no input has.
    """

    def __init__(self, graphs: Bundle) -> None:
        self._graphs = graphs
        self._ran: dict[tuple[str, tuple[tuple[int, ...], ...]], dict[str, tuple[int, ...]]] = {}

    def __call__(self, part: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The shapes of a part's outputs, by name.

        Args:
            part: the name of the part.
            shapes: of its inputs, by name.
        """
        spec = self._graphs.manifest.parts[part]
        sizes = {
            name: size
            for tensor in spec.inputs
            for name, size in zip(tensor.shape, shapes[tensor.name], strict=True)
            if isinstance(name, str)
        }
        batch = next(iter(shapes.values()))[0]
        found = {}
        for tensor in spec.outputs:
            rest = tensor.shape[1:]
            if all(isinstance(size, int) or size in sizes for size in rest):
                found[tensor.name] = (batch, *(size if isinstance(size, int) else sizes[size] for size in rest))
            else:
                found[tensor.name] = (batch, *self._run(part, shapes)[tensor.name][1:])
        return found

    def _run(self, part: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The shapes that a graph gives for one input of a length."""
        key = part, tuple(shape[1:] for shape in shapes.values())
        if key not in self._ran:
            inputs = self._graphs.manifest.parts[part].inputs
            feeds: dict[str, Array] = {t.name: np.ones((1, *shapes[t.name][1:]), t.dtype) for t in inputs}
            outputs = OrtSession(self._graphs, part, "cpu", 1).run(feeds)
            self._ran[key] = {name: values.shape for name, values in outputs.items()}
        return self._ran[key]
