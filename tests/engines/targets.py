"""Targets for the tests, and changes to what a build wrote."""

from __future__ import annotations

from pathlib import Path

import msgspec

from taemi_edge.bundle.folder import read_manifest, write_manifest
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.engines.recipe import TargetRecipe

CPU = {"runs": "3"}


def target(name: str = "cpu", **changes: str) -> TargetRecipe:
    return load_recipe("engines", name, TargetRecipe, changes)


def changed(folder: Path, **engine: object) -> Path:
    manifest = read_manifest(folder)
    write_manifest(folder, msgspec.structs.replace(manifest, engine=msgspec.structs.replace(manifest.engine, **engine)))
    return folder
