"""Engines of the calibrated tiny bundle for this processor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from tests.engines.targets import CPU, target


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> EngineCache:
    return EngineCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def built(calibrated_folder, cache, tmp_path_factory):
    """The calibrated tiny bundle for this processor, each part in the precision that was fastest."""
    folder = tmp_path_factory.mktemp("engines") / "taemi-tiny-cpu"
    return build_engine(calibrated_folder, target(**CPU), "auto", folder, threads=1, cache=cache)


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return Path(shutil.copytree(built.bundle.folder, tmp_path / "engines"))
