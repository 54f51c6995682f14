"""Writes the layers that TensorRT made of each part, as its inspector names them: ...layers ENGINES --json FILE

The name of a fused layer has the names of what it fuses: they tell whether attention is one layer, and where casts
between FP16 and FP32 keep it apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.json_files import write_json
from taemi_edge.runtime.tensorrt.gpu import open_gpu
from taemi_edge.runtime.tensorrt.library import load_library

if TYPE_CHECKING:
    import tensorrt as trt


def layers_of(folder: Path) -> dict[str, Any]:
    """The layers of each part of a bundle of engines, as many as TensorRT tells of."""
    bundle = open_bundle(folder)
    library: Any = load_library("tensorrt")
    parts = {}
    with open_gpu(bundle) as gpu:
        for part, spec in bundle.manifest.parts.items():
            engine = gpu.runtime.deserialize_cuda_engine(bundle.read(spec.file))
            inspector: trt.EngineInspector = engine.create_engine_inspector()
            told = inspector.get_engine_information(library.LayerInformationFormat.JSON)
            layers = json.loads(told).get("Layers", [])
            parts[part] = {
                "count": len(layers),
                "casts": sum("cast" in _name(layer).lower() for layer in layers),
                "layers": layers,
            }
            del inspector, engine
    return {"bundle": str(folder), "parts": parts}


def _name(layer: Any) -> str:
    """A layer's name: with little verbosity a layer is its name."""
    return str(layer.get("Name", "") if isinstance(layer, dict) else layer)


def main(words: Sequence[str] | None = None) -> None:
    """Write the layers."""
    parser = argparse.ArgumentParser(prog="layers")
    parser.add_argument("engines", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(words)
    write_json(given.json, layers_of(given.engines))


if __name__ == "__main__":
    main()
