"""An engine has the tolerance of its precision; a mix of precisions has that of the lowest for the whole way."""

from __future__ import annotations

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import END_TO_END, end_to_end_tolerance
from taemi_edge.calibration.recipe import load_recipe_of
from taemi_edge.engines.tolerances import tolerances_of, tolerances_of_mix


def test_fp16_of_an_exported_bundle_has_the_tolerances_of_its_recipe(tiny: Bundle):
    assert tolerances_of(tiny, "fp32") == tiny.manifest.tolerances
    assert tolerances_of(tiny, "fp16") == load_recipe_of("taemi-tiny").fp16


def test_each_part_has_its_own_and_the_whole_way_that_of_the_lowest(calibrated: Bundle):
    by = calibrated.manifest.tolerances_by
    asked = dict.fromkeys(calibrated.manifest.part_names, "fp32") | {"text": "int8", "audio": "fp16"}
    mixed = tolerances_of_mix(calibrated, asked)
    kept = {"vision": by["fp32"]["vision"], "audio": by["fp16"]["audio"], "text": by["int8"]["text"]}
    assert {part: mixed[part] for part in kept} == kept
    assert mixed[END_TO_END] == end_to_end_tolerance(by["int8"])
