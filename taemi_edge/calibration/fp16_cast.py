"""Casting a part to FP16 or BF16 without a corpus: the golden feeds show which nodes must stay in FP32."""

from __future__ import annotations

from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Precision
from taemi_edge.calibration.graph_sessions import runner_of_all_tensors
from taemi_edge.calibration.graphs.bf16 import convert_to_bf16
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16, find_islands
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.ranges import collect_statistics
from taemi_edge.calibration.recipe import load_recipe_of
from taemi_edge.parity.golden import bind_tokens, golden_cases


def cast_part(bundle: Bundle, part: str, precision: Precision, file: Path) -> None:
    """Write a part as a strongly typed graph of 16 bits.

    Args:
        bundle: in FP32, with golden feeds.
        part: the name of a stream, or of the head.
        precision: "fp16" or "bf16".
        file: where the graph is written. The scopes that it keeps in FP32 are those of the model's calibration recipe.
    """
    graph = Graph.of_part(bundle, part)
    recipe = load_recipe_of(bundle.manifest.name)
    streams = bundle.manifest.streams
    feeds = (
        case.feeds if case.pattern is None else bind_tokens(case.feeds, case.pattern, bundle.tokens, streams)
        for case in golden_cases(bundle)
        if case.part == part
    )
    statistics = collect_statistics(runner_of_all_tensors(graph), feeds, {}, rows=0)
    islands = find_islands(graph, statistics.amax, recipe.fp16_keep.get(part, ()), recipe.fp16_margin)
    convert = convert_to_bf16 if precision == "bf16" else convert_to_fp16
    convert(graph, islands).save(file)
