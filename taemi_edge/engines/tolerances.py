"""The tolerances of engines: how far their outputs may be from PyTorch's, by the precision that they compute in."""

from __future__ import annotations

from collections.abc import Mapping

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import CAST, PRECISIONS, Precision
from taemi_edge.bundle.values import END_TO_END, PartTolerances, end_to_end_tolerance
from taemi_edge.calibration.recipe import load_recipe_of
from taemi_edge.calibration.tolerances import tolerances_by_recipe


def tolerances_of(bundle: Bundle, precision: Precision) -> PartTolerances:
    """Give the tolerances of every part in one precision.

    A bundle that was never calibrated has none for FP16 and BF16. Its graphs are cast here, and their tolerances are
    those of the model's calibration recipe.
    """
    if precision not in CAST or precision in bundle.manifest.tolerances_by:
        return bundle.manifest.tolerances_of(precision)
    return tolerances_by_recipe(bundle, load_recipe_of(bundle.manifest.name), precision)


def tolerances_of_mix(bundle: Bundle, precisions: Mapping[str, Precision]) -> PartTolerances:
    """Give the tolerances of a bundle whose parts compute in several precisions.

    Each part has the tolerance of its own precision; the whole way from inputs to outputs has that of the lowest.
    """
    by_part = {part: tolerances_of(bundle, precision)[part] for part, precision in precisions.items()}
    lowest = tolerances_of(bundle, max(precisions.values(), key=PRECISIONS.index))
    return {**by_part, END_TO_END: end_to_end_tolerance(lowest)}
