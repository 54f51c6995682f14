"""TAEMI's own names, and what a bundle of it says."""

from __future__ import annotations

from taemi_edge.bundle.folder import Bundle
from taemi_edge.taemi.names import EMOTIONS, INTENSITIES, MODALITIES, PARTS, PATTERN_NAMES, PRESENCE_PATTERNS


def test_a_bundle_has_the_names_of_the_paper(tiny: Bundle):
    manifest = tiny.manifest
    assert tuple(manifest.streams) == MODALITIES
    assert manifest.part_names == PARTS
    assert {name: spec.names for name, spec in manifest.outputs.items()} == {INTENSITIES: EMOTIONS}
    assert manifest.patterns == PRESENCE_PATTERNS
    assert tuple(map(manifest.pattern_name, manifest.patterns)) == PATTERN_NAMES
