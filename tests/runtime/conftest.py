"""Engines on a stand-in for a GPU, so that the runtime's GPU half runs on any processor."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest, write_manifest
from taemi_edge.bundle.records import EngineRecord
from taemi_edge.engines.profiles import part_profiles
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.parity.golden import load_cases
from taemi_edge.runtime.tensorrt.machine import this_machine
from tests.runtime.tensorrt import stand_in_gpu

_TARGET = TargetRecipe(name="stand-in", backend="tensorrt")


@pytest.fixture(scope="module")
def device(tiny: Bundle):
    """One GPU for the whole file."""
    patch = pytest.MonkeyPatch()
    by_part = part_profiles(tiny.manifest, _TARGET, load_cases(tiny.golden_file))
    profiles = {name: span for spans in by_part.values() for name, span in spans.items()}
    profiles |= {"batch": (1, 1, 4)}
    yield stand_in_gpu.install(patch, profiles)
    patch.undo()


@pytest.fixture(scope="module")
def engines(device: stand_in_gpu.Device, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with its graphs in the place of engines."""
    folder = tmp_path_factory.mktemp("engines") / "stand-in"
    folder.mkdir()
    manifest = read_manifest(tiny_folder)
    parts = {}
    for part, spec in manifest.parts.items():
        parts[part] = msgspec.structs.replace(spec, file=f"{part}.engine")
        shutil.copyfile(tiny_folder / spec.file, folder / f"{part}.engine")
    for name in ("tokens.safetensors", "tokenizer.json", "golden.npz"):
        shutil.copyfile(tiny_folder / name, folder / name)
    record = EngineRecord(
        target="stand-in",
        backend="tensorrt",
        library="tensorrt 0.0.0",
        machine=msgspec.to_builtins(this_machine()),
        source=str(tiny_folder),
        asked="fp32",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
    )
    write_manifest(folder, msgspec.structs.replace(manifest, parts=parts, verified=True, engine=record))
    return open_bundle(folder)
