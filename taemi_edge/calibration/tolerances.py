"""The tolerances of a bundle in each precision: those that its calibration recipe names, and derived ones for the rest.

What a recipe does not name follows from the model itself: how large an error may be is a share of the largest magnitude
that PyTorch gave of each output on the golden feeds, and never less than the model's own tolerance in FP32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Precision
from taemi_edge.bundle.values import END_TO_END, HEAD, PartTolerances
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.errors import CalibrationError
from taemi_edge.parity.golden import golden_cases


def tolerances_by_recipe(bundle: Bundle, recipe: CalibrationRecipe, precision: Precision) -> PartTolerances:
    """Give the tolerance of every part, and of the whole way, in one precision.

    Args:
        bundle: with the tolerances of FP32 and golden feeds.
        recipe: of its calibration.
        precision: "fp32" gives the model's own.

    Raises:
        CalibrationError: the recipe neither names a part nor says how its tolerance is derived.
    """
    manifest = bundle.manifest
    if precision == "fp32":
        return dict(manifest.tolerances_by.get("fp32", manifest.tolerances))
    named = recipe.tolerances(precision)
    wanted = (*manifest.part_names, END_TO_END)
    missing = [name for name in wanted if name not in named and not (name == END_TO_END and HEAD in named)]
    found = {name: named[name] for name in wanted if name in named}
    if not missing:
        return found
    relative = None if recipe.others is None else recipe.others.of(precision)
    if relative is None:
        raise CalibrationError(
            f"recipe {recipe.name}: expected a tolerance of {missing[0]} in [{precision}], or [others.{precision}], "
            f"got neither"
        )
    magnitudes = golden_magnitudes(bundle)
    own = tolerances_by_recipe(bundle, recipe, "fp32")
    for name in missing:
        part = HEAD if name == END_TO_END else name
        found[name] = relative.of(magnitudes.get(part, {}), own.get(name, own[HEAD]))
    return found


def golden_magnitudes(bundle: Bundle) -> Mapping[str, Mapping[str, float]]:
    """Give the largest magnitude that PyTorch gave on the golden feeds, by part and output."""
    found: dict[str, dict[str, float]] = {}
    for case in golden_cases(bundle):
        of_part = found.setdefault(case.part, {})
        for name, value in (case.expected or {}).items():
            of_part[name] = max(of_part.get(name, 0.0), float(np.abs(value).max(initial=0)))
    return found
