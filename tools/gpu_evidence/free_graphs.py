"""Writes a bundle's graphs in FP16 with softmax and LayerNorm in FP16 too: ...free_graphs GRAPHS OUTPUT

It shows what the islands of FP32 cost. Nodes that would overflow stay in FP32.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.folder import open_bundle, replaceable_files, write_manifest
from taemi_edge.calibration.graph_sessions import runner_of_all_tensors
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16, find_islands
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.ranges import collect_statistics
from taemi_edge.calibration.recipe import load_recipe_of
from taemi_edge.parity.golden import bind_tokens, golden_cases


def main(words: Sequence[str] | None = None) -> None:
    """Write the bundle."""
    parser = argparse.ArgumentParser(prog="free_graphs")
    parser.add_argument("graphs", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args(words)
    bundle = open_bundle(given.graphs)
    manifest, recipe, cases = bundle.manifest, load_recipe_of(bundle.manifest.name), golden_cases(bundle)
    by_part = {}
    with new_folder(given.output, replaceable_files(given.output)) as draft:
        for name in manifest.sha256:
            (draft / name).write_bytes(bundle.read(name))
        for part, spec in manifest.parts.items():
            graph = Graph.of_part(bundle, part)
            feeds = [
                case.feeds
                if case.pattern is None
                else bind_tokens(case.feeds, case.pattern, bundle.tokens, manifest.streams)
                for case in cases
                if case.part == part
            ]
            amax = collect_statistics(runner_of_all_tensors(graph), feeds, {}, rows=0).amax
            islands = find_islands(graph, amax, recipe.fp16_keep.get(part, ()), recipe.fp16_margin)
            convert_to_fp16(graph, islands, kept_ops=()).save(draft / f"{part}.fp16.onnx")
            by_part[part] = {"fp32": spec.file, "fp16": f"{part}.fp16.onnx"}
        write_manifest(draft, msgspec.structs.replace(manifest, graphs=by_part))


if __name__ == "__main__":
    main()
