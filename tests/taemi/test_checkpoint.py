"""Checkpoint folders: what is written comes back, whole, without a pickle; what is missing is named."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="checkpoints are PyTorch's")

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.errors import CheckpointError, RecipeError
from taemi_edge.taemi.checkpoint import Checkpoint, load_checkpoint, new_checkpoint, open_checkpoint, save_checkpoint
from taemi_edge.taemi.recipe import EncoderRecipe, ModelRecipe


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint("taemi-tiny")


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "ck")
    return tmp_path / "ck"


@pytest.mark.parametrize("recipe", ["taemi-tiny", "taemi-mobile"])
def test_a_checkpoint_comes_back_as_it_was(recipe: str, tmp_path: Path):
    original = open_checkpoint(recipe)
    save_checkpoint(original, tmp_path / "ck")
    again = load_checkpoint(tmp_path / "ck")
    a, b = original.model.state_dict(), again.model.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert (again.recipe, again.state, again.tokenizer_json) == (
        original.recipe,
        original.state,
        original.tokenizer_json,
    )
    assert again.state.trained == (recipe == "taemi-mobile")  # it names a head that ships


def test_there_is_no_pickle(folder: Path):
    assert sorted(os.listdir(folder)) == [
        "encoders.json",
        "model.safetensors",
        "recipe.json",
        "state.json",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("name", ["encoders.json", "model.safetensors", "recipe.json", "state.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"expected a checkpoint, but {name} is missing"):
        load_checkpoint(folder)


def test_weights_that_are_damaged_or_do_not_fit_are_refused(folder: Path, checkpoint: Checkpoint):
    wide = (folder / "recipe.json").read_bytes().replace(b'"dim": 16', b'"dim": 32')
    (folder / "recipe.json").write_bytes(wide)
    with pytest.raises(CheckpointError, match="does not fit its recipe"):
        load_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="expected safetensors"):
        load_checkpoint(folder)
    (folder / "recipe.json").write_text('{"name": 1}')
    with pytest.raises(RecipeError, match="recipe.json"):
        load_checkpoint(folder)


def with_vision(encoder: EncoderRecipe) -> ModelRecipe:
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe)
    return msgspec.structs.replace(recipe, vision=msgspec.structs.replace(recipe.vision, encoder=encoder))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (EncoderRecipe(architecture="no-such-thing"), "expected a transformers model type, got 'no-such-thing'"),
        (EncoderRecipe(architecture="vit", weights="package:unheard-of"), "expected a known weights package"),
        (EncoderRecipe(architecture="efficientnet-lite0", weights="somewhere"), "expected weights = 'package:"),
    ],
)
def test_an_encoder_that_cannot_be_had_is_one_sentence(encoder: EncoderRecipe, message: str):
    with pytest.raises(CheckpointError, match=message):
        new_checkpoint(with_vision(encoder))


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="name a local folder in the recipe, or pass --random-weights"):
        new_checkpoint(with_vision(EncoderRecipe(architecture="vit", weights="nobody/no-such-model")))


def test_a_local_transformers_folder_is_an_encoder(tmp_path: Path, checkpoint: Checkpoint):
    checkpoint.model.vision.backbone.save_pretrained(tmp_path / "vit")
    loaded = new_checkpoint(with_vision(EncoderRecipe(architecture="vit", weights=str(tmp_path / "vit"))))
    a, b = checkpoint.model.vision.state_dict(), loaded.model.vision.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert loaded.state.weights["vision"] == str(tmp_path / "vit")
    with pytest.raises(CheckpointError, match="expected a bert model, got vit"):
        new_checkpoint(with_vision(EncoderRecipe(architecture="bert", weights=str(tmp_path / "vit"))))


def test_init_makes_a_checkpoint_and_never_replaces_one(cli_here, tmp_path: Path):
    assert cli_here("init", "taemi-tiny", cwd=tmp_path).returncode == 0
    assert load_checkpoint(tmp_path / "checkpoints" / "taemi-tiny").recipe.name == "taemi-tiny"
    again = cli_here("init", "taemi-tiny", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists and might hold a trained checkpoint: name a new folder" in again.stderr
    assert cli_here("parity", "checkpoints/taemi-tiny", "taemi-tiny", cwd=tmp_path).returncode == 0
