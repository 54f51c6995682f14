"""Engines of the calibrated tiny bundle for this processor."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.cli.main import main
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.profiles import part_profiles
from taemi_edge.parity.golden import load_cases
from tests.engines.stand_in_builder import BuilderState, add_builder
from tests.engines.targets import CPU, target
from tests.runtime.tensorrt import stand_in_gpu


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


@pytest.fixture
def gpu(tiny: Bundle, monkeypatch) -> stand_in_gpu.Device:
    """What stands in for a GPU, in this process."""
    by_part = part_profiles(tiny.manifest, target("tensorrt"), load_cases(tiny.golden_file))
    profiles: dict[str, tuple[int, int, int]] = {}
    for name, (low, usual, high) in (item for spans in by_part.values() for item in spans.items()):
        widest = profiles.get(name, (low, usual, high))
        profiles[name] = min(low, widest[0]), widest[1], max(high, widest[2])
    return stand_in_gpu.install(monkeypatch, profiles)


@pytest.fixture
def builder(gpu) -> BuilderState:
    """What stands in for TensorRT on it, the builder included."""
    state = BuilderState()
    add_builder(sys.modules["tensorrt"], state)
    return state


@pytest.fixture
def command(builder, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, list[str]]]:
    """Run a command in this process, on the stand-ins; gives its exit code and what it says beside its stages."""
    monkeypatch.setenv("TAEMI_EDGE_CACHE", str(tmp_path / "cache"))

    def run(*words: object) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["taemi-edge", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in said), said
        notes = [line for line in said if line.startswith(("note: ", "taemi-edge: "))]
        return int(ended.value.code or 0), notes

    return run


@pytest.fixture
def build(command, tiny_folder, tmp_path) -> Callable[..., tuple[int, list[str]]]:
    """Build engines of the tiny bundle into the folder `o`, as `command` runs it."""
    words = ("build-engine", tiny_folder, "--target", "tensorrt", "--precision", "fp32", "--output", tmp_path / "o")
    return lambda *more: command(*words, *more)
