"""Numbers without bounds, in manifests and in recipes, are one sentence, and take no memory."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.json_files import values_problem
from taemi_edge.bundle.recipe import load_recipe, read_toml
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import BundleError, RecipeError
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.work import Layout
from taemi_edge.taemi.recipe import ModelRecipe
from tests.bundle.hostile import edit_manifest


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def set_key(content: dict[str, Any], key: str, value: object) -> None:
    *tables, last = key.split(".")
    for table in tables:
        content = content[table]
    content[last] = value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("window.length_s", 1e9),
        ("window.hop_s", 1e-9),
        ("window.hop_s", 0),
        ("window.hop_s", -1),
        ("streams.text.max_tokens", 10**18),
        ("streams.text.max_tokens", 10**30),
        ("streams.text.feature_dim", 10**9),
        ("streams.text.max_steps", 10**9),
        ("streams.text.missing.steps", 10**12),
        ("streams.vision.size_hw", [0, 0]),
        ("streams.vision.size_hw", [10**9, 10**9]),
        ("streams.vision.size_hw", [1, 10**6]),
        ("streams.vision.size_hw", [-5, 5]),
        ("streams.vision.frames_per_second", 1e9),
        ("streams.vision.frames_per_second", 1e-9),
        ("streams.vision.clip_frames", 10**9),
        ("streams.vision.presence.missing_after_s", 1e300),
        ("streams.vision.presence.recover_after_s", 1e300),
        ("streams.audio.sample_rate_hz", 10**12),
        ("streams.audio.sample_rate_hz", -16000),
        ("streams.audio.chunk_s", 1e9),
        ("streams.audio.context_s", 1e9),
        ("streams.audio.chunk_s", 3599.0),
        ("parts.text.opset", 10**20),
        ("parts.text.inputs", [{"name": "x", "dtype": "int32", "shape": [10**18]}]),
        ("parts.text.inputs", [{"name": "x", "dtype": "int32", "shape": [-1]}]),
        ("parts.text.inputs", [{"name": "x", "dtype": "int32", "shape": [1] * 1000}]),
        ("parts.text.inputs", [{"name": "x", "dtype": "int32", "shape": [1]}] * 1000),
        ("outputs.intensities.names", [f"n{i}" for i in range(100_000)]),
        ("declared_patterns", [["text"]] * 5000),
        ("sha256", {f"{i}": "0" for i in range(5000)}),
        ("name", ["x"] * 100),
    ],
)
def test_numbers_of_a_manifest_have_bounds(copy: Path, key: str, value: object):
    edit_manifest(copy, lambda manifest: set_key(manifest, key, value))
    with pytest.raises(BundleError, match=r"expected|Expected") as caught:
        open_bundle(copy)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("streams", [65, 1000])
def test_a_manifest_has_no_more_streams_than_a_device_could_run(copy: Path, streams: int):
    def change(manifest: dict[str, Any]) -> None:
        manifest["streams"] |= {f"s{i}": manifest["streams"]["text"] for i in range(streams)}

    edit_manifest(copy, change)
    with pytest.raises(BundleError, match="expected at most 64 streams, got"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema": NaN}',
        b'{"schema": 2, "a": 1e999}',
        b'{"schema": Infinity}',
        b'{"schema": 2, "name": "\xff"}',
        b'{"schema": 2, "name": "\\ud800"}',
        b'{"schema": ' + b"9" * 5000 + b"}",
        b'{"schema": 2, "a": ' + b"9" * 300 + b"}",
        b'{"schema": 2, "a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a":' * 100_000,
        b"[" * 2_000_000,
        b'{"schema": 2, "a": [' + b"[]," * 690_000 + b"[]]}",
        b"\xef\xbb\xbf{}",
        b"",
        b"\0" * 100,
    ],
)
def test_json_that_nobody_writes_is_one_sentence(copy: Path, content: bytes):
    (copy / "manifest.json").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="manifest.json: expected"):
        open_bundle(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_engine_recipes_of_a_manifest_are_not_deep(copy: Path):
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert values_problem(deep) == "expected at most 64 levels of lists and tables, got more"
    edit_manifest(copy, lambda manifest: manifest.update(engine={"recipe": {"a": deep}}))
    with pytest.raises(BundleError, match="expected at most 64 levels"):
        open_bundle(copy)


def test_a_window_that_no_memory_holds_is_refused_before_it_is_taken(copy: Path):
    """Each number is inside its bounds; together they ask for gigabytes."""
    edit_manifest(copy, lambda manifest: manifest["streams"]["vision"].update(frames_per_second=1000.0))
    bundle = open_bundle(copy)
    with pytest.raises(BundleError, match="expected a window of at most 50,331,648 numbers in features"):
        open_executor(bundle, Layout(1, 3600.0, 1.0), "cpu", 1)


@pytest.mark.parametrize(
    ("kind", "name", "recipe", "key", "value"),
    [
        ("export", "taemi-tiny", ModelRecipe, "vision.size_hw", "[1000000000, 1000000000]"),
        ("export", "taemi-tiny", ModelRecipe, "vision.size_hw", "[0, 0]"),
        ("export", "taemi-tiny", ModelRecipe, "vision.frames_per_second", "inf"),
        ("export", "taemi-tiny", ModelRecipe, "audio.chunk_s", "1e9"),
        ("export", "taemi-tiny", ModelRecipe, "audio.sample_rate_hz", "0"),
        ("export", "taemi-tiny", ModelRecipe, "text.max_tokens", "1000000000000000000"),
        ("export", "taemi-tiny", ModelRecipe, "window.length_s", "1e9"),
        ("export", "taemi-tiny", ModelRecipe, "window.hop_s", "nan"),
        ("export", "taemi-tiny", ModelRecipe, "fusion.heads", "0"),
        ("export", "taemi-tiny", ModelRecipe, "fusion.dim", "1000000000"),
        ("export", "taemi-tiny", ModelRecipe, "export.max_batch", "1000000000"),
        ("calibration", "default", CalibrationRecipe, "rows", "1000000000000"),
        ("calibration", "default", CalibrationRecipe, "batch", "1000000000"),
        ("calibration", "default", CalibrationRecipe, "longest_s", "inf"),
        ("calibration", "default", CalibrationRecipe, "clips", "9" * 5000),
        ("engines", "cpu", TargetRecipe, "workspace_mib", "9007199254740993"),
        ("engines", "cpu", TargetRecipe, "runs", "1000000000000"),
        ("engines", "cpu", TargetRecipe, "gain", "nan"),
        ("engines", "cpu", TargetRecipe, "profiles.text.tokens", "[1, 2, 9000000000]"),
    ],
)
def test_numbers_of_a_recipe_have_bounds(kind: Any, name: str, recipe: Any, key: str, value: str):
    with pytest.raises(RecipeError, match=r"expected|Expected"):
        load_recipe(kind, name, recipe, {key: value})


@pytest.mark.parametrize(
    "content",
    [
        "a = " + "[" * 50_000,
        "a = " + "9" * 5000,
        "a = nan",
        "a = [inf]",
        "a = 18446744073709551616",
        "a." * 5000 + "a = 1",
        "a = '" + "x" * 300_000 + "'",
    ],
)
def test_toml_that_nobody_writes_is_one_sentence(tmp_path: Path, content: str):
    file = tmp_path / "mine.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"mine.toml: (expected|Expected)"):
        read_toml(file)


def test_a_recipe_of_a_name_that_no_file_has_is_not_found():
    with pytest.raises(RecipeError, match="expected a recipe's name or a TOML file"):
        load_recipe("engines", "a" * 300 + ".toml", TargetRecipe)
    with pytest.raises(RecipeError, match="expected a recipe's name or a TOML file"):
        load_recipe("engines", "a\0b", TargetRecipe)
    with pytest.raises(BundleError, match="expected a bundle"):
        open_bundle("a" * 5000)
    with pytest.raises(BundleError, match="expected a bundle"):
        open_bundle("a\0b")


def test_real_manifests_are_far_from_the_bounds(tiny_folder: Path):
    content = (tiny_folder / "manifest.json").read_bytes()
    assert len(content) < 100_000
    assert values_problem(json.loads(content)) is None
