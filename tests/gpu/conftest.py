"""What tests on a GPU share: where bundles lie, how they are built, and why nothing can be run here if so.

TAEMI_EDGE_GPU_BUNDLES names a folder of bundles of graphs, and TAEMI_EDGE_GPU_TARGET changes of the target recipe.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import UsageError
from taemi_edge.runtime.tensorrt.library import load_library
from taemi_edge.runtime.tensorrt.machine import this_machine

BUNDLES = sorted(Path(os.environ.get("TAEMI_EDGE_GPU_BUNDLES", "no-such-folder")).glob("*/manifest.json"))


def why_not() -> str:
    """Why engines cannot be built here; empty where they can."""
    try:
        load_library("tensorrt")
        this_machine()
    except UsageError as error:
        return str(error)
    return "" if BUNDLES else "TAEMI_EDGE_GPU_BUNDLES names no bundles"


def target_with(**more: str) -> TargetRecipe:
    """This GPU as a target, as the environment changes it."""
    changes = dict(pair.split("=", 1) for pair in os.environ.get("TAEMI_EDGE_GPU_TARGET", "").split(";") if pair)
    return load_recipe("engines", "tensorrt", TargetRecipe, {**changes, **more})


@pytest.fixture(scope="session")
def target() -> TargetRecipe:
    return target_with()


@pytest.fixture(scope="session")
def graphs() -> Path:
    """The bundle of graphs with the fewest bytes."""
    return min((m.parent for m in BUNDLES), key=lambda folder: sum(f.stat().st_size for f in folder.iterdir()))


@pytest.fixture(scope="session")
def smallest(target: TargetRecipe, graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its engines in FP16."""
    folder = tmp_path_factory.mktemp("engines") / "built"
    build_engine(graphs, target, "fp16", folder, cache=EngineCache())
    return folder


@pytest.fixture(scope="session")
def engines(smallest: Path) -> Bundle:
    return open_bundle(smallest)
