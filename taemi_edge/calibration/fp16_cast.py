"""A bundle's FP32 part in, its FP16 graph out, without a corpus: islands by what the golden feeds show."""

from __future__ import annotations

from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.recipe import list_recipes, load_recipe
from taemi_edge.calibration.graphs.fp16 import find_islands, to_half
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.ranges import collect
from taemi_edge.calibration.plan import run_all
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.parity.golden import bind_tokens, load_cases


def cast_part(bundle: Bundle, part: str, file: Path) -> None:
    """Write a part's strongly typed FP16 graph; the kept scopes are those of the model's calibration recipe."""
    graph = Graph.load(bundle.part_file(part))
    name = bundle.manifest.name if bundle.manifest.name in list_recipes("calibration") else "default"
    recipe = load_recipe("calibration", name, CalibrationRecipe)
    feeds = (
        case.feeds if case.pattern is None else bind_tokens(case.feeds, case.pattern, bundle.tokens)
        for case in load_cases(bundle.golden_file)
        if case.part == part
    )
    seen = collect(run_all(graph), feeds, {}, rows=0)
    islands = find_islands(graph, seen.amax, recipe.fp16_keep.get(part, ()), recipe.fp16_margin)
    to_half(graph, islands).save(file)
