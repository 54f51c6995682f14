"""Bundles that are not what their manifest says are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import BundleError


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def edit_manifest(folder: Path, change) -> None:
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["vision.onnx", "fusion.onnx", "tokens.safetensors", "tokenizer.json", "golden.npz"])
def test_one_changed_byte_is_found(copy: Path, name: str):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file that the manifest was written for"):
        open_bundle(copy)


def test_all_problems_are_named_at_once(copy: Path):
    (copy / "audio.onnx").unlink()
    (copy / "text.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"audio.onnx is missing; .*text.onnx is not the file"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=99), "expected schema 2, got 99: update taemi-edge"),
        (lambda m: m.update(schema=1), "expected schema 2, got 1: export the model again with `taemi-edge export"),
        (lambda m: m.pop("schema"), "expected schema 2, got None"),
        (lambda m: m.update(name="../../elsewhere"), "a file name, without a folder, got '../../elsewhere'"),
        (lambda m: m.update(colour="red"), "unknown field `colour`"),
        (lambda m: m["streams"]["audio"].update(chunk_s="long"), "Expected `float`, got `str`"),
        (lambda m: m["streams"]["audio"].update(chunk_s=0), "expected chunk_s of a sample or more"),
        (lambda m: m["streams"]["audio"].update(sample_rate_hz=0), "expected chunk_s of a sample or more"),
        (lambda m: m["streams"]["text"].update(max_tokens=0), "expected max_tokens from 1, got 0"),
        (lambda m: m["streams"]["text"].update(min_steps=9, max_steps=8), "expected 1 <= min_steps <= max_steps"),
        (lambda m: m["streams"]["audio"].update(kind="smell"), "Invalid value 'smell'"),
        (lambda m: m["streams"].pop("audio"), "expected a part for each of vision, text, fusion"),
        (lambda m: m["streams"].update({"2nd": m["streams"]["audio"]}), "Python identifier, got '2nd'"),
        (lambda m: m["outputs"]["intensities"]["names"].pop(), "expected a head that gives"),
        (lambda m: m["outputs"].update(time_s=m["outputs"].pop("intensities")), "another name than 'time_s'"),
        (lambda m: m["head"].update(masks=False), "expected a head that takes audio, text, vision"),
        (lambda m: m["sha256"].pop("vision.onnx"), "vision.onnx has no hash in the manifest"),
        (lambda m: m["sha256"].update({"../secret": "0"}), "expected plain file names, got '../secret'"),
        (
            lambda m: m["streams"]["text"].update(feature_dim=7),
            "text: expected features of width 7, got .*: export the",
        ),
        (lambda m: m["streams"]["text"]["missing"].update(steps=2), r"token 'text' of shape \(2, 16\), got \(16,\)"),
        (lambda m: m["streams"]["text"]["missing"].update(steps=0), "expected feature_dim and steps from 1"),
        (lambda m: m["parts"]["text"].update(outputs=[]), "text: expected an encoder with one output"),
        (lambda m: m["parts"]["fusion"]["outputs"][0].update(shape=[]), "expected a head that gives"),
        (lambda m: m["parts"]["fusion"]["inputs"][0].update(shape=["batch", 3]), r"as \(batch, steps, 16\)"),
        (lambda m: m["head"].update(unread=["smell"]), "streams and parts among vision, .*, got 'smell'"),
        (lambda m: m.update(declared_patterns=[["smell"]]), "streams and parts among vision, .*, got 'smell'"),
    ],
)
def test_a_manifest_that_is_wrong_is_explained(copy: Path, change, message: str):
    edit_manifest(copy, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(copy)


def test_what_is_no_bundle_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path, found in (
        (tmp_path, "a folder without one"),
        (tmp_path / "file", "a file"),
        (tmp_path / "no", "nothing"),
    ):
        with pytest.raises(BundleError, match=f"expected a bundle .*found {found}"):
            open_bundle(path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="expected a manifest of schema 2"):
        open_bundle(tmp_path)


def test_a_manifest_that_is_nested_too_deeply_is_refused(copy: Path):
    (copy / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="expected a manifest of schema"):
        open_bundle(copy)
