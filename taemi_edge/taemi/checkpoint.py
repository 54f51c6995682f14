"""Making a model from a recipe, and saving and loading checkpoints. A checkpoint holds no pickle.

checkpoint/
  recipe.json         every key of the recipe, defaults filled in
  encoders.json       the transformers configuration of each encoder, so that no hub is asked again
  model.safetensors   all weights
  tokenizer.json      the text encoder's tokenizer
  state.json          whether the fusion head was trained, and where each encoder's weights came from
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from taemi_edge.bundle.atomic import give_usual_mode, new_file, new_folder
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.recipe import load_recipe, recipe_from_mapping
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import CheckpointError, first_line
from taemi_edge.export.state_dicts import names_of, state_dict_problem
from taemi_edge.media.tokenizer_files import open_tokenizer
from taemi_edge.taemi import packaged_weights
from taemi_edge.taemi.encoders import make_backbone, weights_folder
from taemi_edge.taemi.hub import hub_problem, is_on_the_hub
from taemi_edge.taemi.names import MODALITIES, Modality
from taemi_edge.taemi.network import AudioEncoder, TaemiModel, TextEncoder, VisionEncoder
from taemi_edge.taemi.recipe import EncoderRecipe, ModelRecipe
from taemi_edge.taemi.vocabulary import BYTES, FEWEST_TOKENS, WORDS, byte_tokenizer_json, word_tokenizer_json

RANDOM = "random"
#: What a checkpoint says of a part that was trained with the encoders, and then what it was before.
END_TO_END_FROM = "trained end to end, from "
CHECKPOINT_FILES = ("recipe.json", "encoders.json", "model.safetensors", "tokenizer.json", "state.json")


class CheckpointState(Frozen, frozen=True):
    """What the weights alone do not say.

    Attributes:
        trained: whether the fusion head was trained.
        weights: where the weights of each encoder came from.
        trained_on: what the fusion head was trained on, in words; empty where it was not trained.
        untrained_tokens: the modalities whose token never received a gradient in training, so that it is random.
    """

    trained: bool
    weights: dict[str, str]
    trained_on: str = ""
    untrained_tokens: tuple[str, ...] = ()


class Checkpoint:
    """A model in evaluation mode, with its recipe, its tokenizer and the state of its training."""

    def __init__(self, model: TaemiModel, tokenizer_json: str, state: CheckpointState) -> None:
        self.model = model.eval()
        self.tokenizer_json = tokenizer_json
        self.state = state

    @property
    def recipe(self) -> ModelRecipe:
        return self.model.recipe


def new_checkpoint(recipe: ModelRecipe, random_weights: bool = False, encoder_seed: int | None = None) -> Checkpoint:
    """Make the model of a recipe with pretrained encoders. Its fusion head is untrained unless the recipe names one.

    Args:
        recipe: the model.
        random_weights: leave the encoders random as well (seeded), at full size. Nothing is read from a hub or a
            package then, not even a tokenizer: each byte is a token, unless the recipe names a tokenizer.
        encoder_seed: of encoders that stay random; the recipe's by default.

    Raises:
        CheckpointError: the weights of an encoder are not available; the message says where they were looked for.
        MissingExtraError: a library for an encoder is not installed.
    """
    modalities: tuple[tuple[Modality, EncoderRecipe], ...] = (
        ("vision", recipe.vision.encoder),
        ("audio", recipe.audio.encoder),
        ("text", recipe.text.encoder),
    )
    backbones, configs = {}, {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed if encoder_seed is None else encoder_seed)
        for modality, encoder in modalities:
            chosen = msgspec.structs.replace(encoder, weights="") if random_weights else encoder
            backbones[modality], configs[modality] = make_backbone(modality, chosen, recipe)
    model = _assemble(recipe, backbones)
    model.encoder_configs = configs
    source: dict[str, str] = {m: RANDOM if random_weights or not e.weights else e.weights for m, e in modalities}
    trained_on = ""
    if recipe.fusion.weights and not random_weights:
        trained_on, source["fusion"] = load_head(model, recipe.fusion.weights)
    state = CheckpointState(trained=bool(trained_on), weights=source, trained_on=trained_on)
    tokenizer_json = _tokenizer_json(recipe, random_weights)
    _require_rows(tokenizer_json, backbones["text"])
    return Checkpoint(model, tokenizer_json, state)


def load_head(model: TaemiModel, weights: str) -> tuple[str, str]:
    """Load a trained head that ships with the package into a model.

    Args:
        model: the model, which is changed in place.
        weights: the name of the head, such as "package:taemi-mobile-synthetic".

    Returns:
        What the head was trained on, and its name with its hash.

    Raises:
        InputError: there is no such head.
        CheckpointError: it was trained for other widths or another recipe.
    """
    from safetensors import safe_open

    file = packaged_weights.head_file(weights)
    with safe_open(file, framework="pt") as stored:
        trained_on = stored.metadata()["trained_on"]
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    own = model.head_state()
    differ = ", ".join(
        filter(
            None,
            (
                names_of("missing", sorted(own.keys() - tensors.keys())),
                names_of("unexpected", sorted(tensors.keys() - own.keys())),
                names_of(
                    "of another shape",
                    [n for n in sorted(own.keys() & tensors.keys()) if own[n].shape != tensors[n].shape],
                ),
            ),
        )
    )
    if differ:
        raise CheckpointError(
            f"fusion.weights = {weights!r} does not fit this recipe: {differ}; it was trained for the "
            f"encoders and the fusion of the recipe it ships with: leave weights away and train"
        )
    model.load_state_dict(tensors, strict=False)
    return trained_on, packaged_weights.head_name(weights)


def save_head(checkpoint: Checkpoint, file: Path, command: str) -> None:
    """Write the trained head of a checkpoint as `load_head` reads it.

    Args:
        checkpoint: a trained one.
        file: the safetensors file.
        command: how the head was made, to record in the file.
    """
    from safetensors.torch import save_file

    if not checkpoint.state.trained:
        raise CheckpointError("expected a trained checkpoint, got an untrained one: train it first")
    weights = {name: value.contiguous() for name, value in checkpoint.model.head_state().items()}
    notes = {"trained_on": checkpoint.state.trained_on, "command": command}
    with new_file(file) as draft:
        save_file(weights, draft, metadata=notes)
        give_usual_mode(draft)


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint folder. When anything fails, no folder is left behind."""
    from safetensors.torch import save_file

    with new_folder(folder, CHECKPOINT_FILES) as draft:
        write_json(draft / "recipe.json", checkpoint.recipe)
        (draft / "encoders.json").write_text(json.dumps(checkpoint.model.encoder_configs, indent=2, sort_keys=True))
        (draft / "tokenizer.json").write_text(checkpoint.tokenizer_json, encoding="utf-8")
        write_json(draft / "state.json", checkpoint.state)
        weights = {name: value.contiguous() for name, value in checkpoint.model.state_dict().items()}
        save_file(weights, draft / "model.safetensors")


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder. Nothing is read from a hub or a weights package.

    Raises:
        CheckpointError: a file is missing, or the weights do not fit the recipe.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if missing := [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder}: expected a checkpoint, but {', '.join(missing)} is missing")
    recipe = recipe_from_mapping(_json(folder / "recipe.json"), ModelRecipe, str(folder / "recipe.json"))
    configs = _json(folder / "encoders.json")
    state = recipe_from_mapping(_json(folder / "state.json"), CheckpointState, str(folder / "state.json"))
    tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
    try:
        weights = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise CheckpointError(f"{folder}/model.safetensors: expected safetensors, got {error}") from error
    backbones, kept = {}, {}
    for modality in MODALITIES:
        config = dict(configs[modality])
        encoder = EncoderRecipe(architecture=config.pop("architecture"), config=config)
        backbones[modality], kept[modality] = make_backbone(modality, encoder, recipe)
    model = _assemble(recipe, backbones)
    model.encoder_configs = kept
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        problem = state_dict_problem(str(error)) or error
        raise CheckpointError(f"{folder}/model.safetensors does not fit its recipe: {problem}") from error
    return Checkpoint(model, tokenizer_json, state)


def open_checkpoint(source: str, random_weights: bool = False) -> Checkpoint:
    """Open a checkpoint folder, or make the model of a recipe.

    Args:
        source: a checkpoint folder, or the name or the TOML file of a recipe.
        random_weights: for a recipe, leave the encoders random.

    Raises:
        CheckpointError: nothing is found there, or the checkpoint is damaged.
        RecipeError: the recipe is wrong.
    """
    folder = Path(source)
    if folder.is_dir():
        if random_weights:
            raise CheckpointError(f"{folder} is a checkpoint and has its weights: leave --random-weights away")
        return load_checkpoint(folder)
    if "/" in source and not folder.exists():
        raise CheckpointError(f"{source}: expected a checkpoint folder or a recipe, found nothing there")
    return new_checkpoint(load_recipe("export", source, ModelRecipe), random_weights)


def _assemble(recipe: ModelRecipe, backbones: dict[str, nn.Module]) -> TaemiModel:
    return TaemiModel(
        VisionEncoder(backbones["vision"], recipe.vision),
        AudioEncoder(backbones["audio"], recipe.audio),
        TextEncoder(backbones["text"]),
        recipe,
    )


def _tokenizer_json(recipe: ModelRecipe, random_weights: bool) -> str:
    """The text of the recipe's tokenizer.json; of a tokenizer of bytes where weights are random."""
    if recipe.text.tokenizer == WORDS:
        return word_tokenizer_json((), FEWEST_TOKENS)  # the words are learned when training begins
    if recipe.text.tokenizer == BYTES or (random_weights and recipe.text.tokenizer == "weights"):
        return byte_tokenizer_json()
    named = recipe.text.encoder.weights if recipe.text.tokenizer == "weights" else recipe.text.tokenizer
    folder = Path(weights_folder(named))
    if (folder / "tokenizer.json").is_file():
        return (folder / "tokenizer.json").read_text(encoding="utf-8")
    problem = None
    try:
        if is_on_the_hub(named):
            from huggingface_hub import hf_hub_download

            problem = hub_problem()
            file = hf_hub_download(named, "tokenizer.json", local_files_only=problem is not None)
            return Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: it is no name that the hub could have
        problem = problem or first_line(error)
    raise CheckpointError(
        f"expected a tokenizer.json beside {named!r} or on the hub, and found none"
        f"{f' ({problem})' if problem else ''}: name a folder that holds one as `tokenizer` in the recipe's [text]"
    )


def embedding_rows(encoder: Any) -> int | None:
    """For how many tokens a network of transformers has an embedding; None where it does not say."""
    rows: int | None = getattr(encoder.get_input_embeddings(), "num_embeddings", None)
    return rows


def _require_rows(tokenizer_json: str, encoder: Any) -> None:
    """Refuse a tokenizer with ids that an encoder has no embedding of."""
    rows = embedding_rows(encoder)
    ids = open_tokenizer(tokenizer_json).get_vocab(with_added_tokens=True).values()
    if rows is not None and max(ids, default=0) >= rows:
        raise CheckpointError(
            f"text: expected an encoder with a row for each of the tokenizer's {max(ids) + 1} tokens, got {rows}: name "
            f"the tokenizer that the encoder was trained with as `tokenizer` in the recipe's [text]"
        )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected JSON, got {error}") from error
