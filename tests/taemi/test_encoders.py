"""Encoders of a recipe: the half of a larger model is taken out of it, and what cannot be one is refused in a sentence.

The models are those of transformers at a small size, with random weights, as `save_pretrained` writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="encoders are PyTorch's")
hf = pytest.importorskip("transformers", reason="encoders are those of transformers")

from safetensors.torch import load_file, save_file

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.errors import CheckpointError
from taemi_edge.taemi.checkpoint import load_checkpoint, new_checkpoint, save_checkpoint
from taemi_edge.taemi.feature_dims import other_size
from taemi_edge.taemi.recipe import EncoderRecipe, ModelRecipe
from tests.export.encoders import CONVS, SMALL, VISION, WAVES

WORDS = {**SMALL, "vocab_size": 300, "max_position_embeddings": 80}
PAIR = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 300,
}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": 300}


def _clip(size: int = 32) -> Any:
    vision = {**VISION, "image_size": size, "projection_dim": 16}
    return hf.CLIPModel(
        hf.CLIPConfig(text_config={**WORDS, "projection_dim": 16}, vision_config=vision, projection_dim=16)
    )


def _siglip() -> Any:
    return hf.SiglipModel(hf.SiglipConfig(text_config={**WORDS, "projection_size": 32}, vision_config=VISION))


def _dual() -> Any:
    configs = (hf.ViTConfig(**VISION), hf.BertConfig(**WORDS))
    return hf.VisionTextDualEncoderModel(
        hf.VisionTextDualEncoderConfig.from_vision_text_configs(*configs, projection_dim=16)
    )


def _speech_pair() -> Any:
    decoder = hf.BertLMHeadModel(hf.BertConfig(**WORDS, is_decoder=True, add_cross_attention=True))
    return hf.SpeechEncoderDecoderModel(encoder=hf.Wav2Vec2Model(hf.Wav2Vec2Config(**SMALL, **WAVES)), decoder=decoder)


#: Larger models, the modality whose half is meant, and the class of that half.
WHOLE: dict[str, tuple[str, Callable[[], Any], str]] = {
    "CLIP, its vision half": ("vision", _clip, "CLIPVision"),
    "CLIP, its text half": ("text", _clip, "CLIPText"),
    "SigLIP, its vision half": ("vision", _siglip, "SiglipVision"),
    "SigLIP, its text half": ("text", _siglip, "SiglipText"),
    "BLIP": (
        "vision",
        lambda: hf.BlipModel(hf.BlipConfig(text_config=WORDS, vision_config=VISION, projection_dim=16)),
        "BlipVisionModel",
    ),
    "a dual encoder of ViT and BERT, its words": ("text", _dual, "BertModel"),
    "a dual encoder of ViT and BERT, its pictures": ("vision", _dual, "ViTModel"),
    "Whisper with its decoder": (
        "audio",
        lambda: hf.WhisperForConditionalGeneration(
            hf.WhisperConfig(**PAIR, max_source_positions=200, pad_token_id=0, decoder_start_token_id=1)
        ),
        "WhisperEncoder",
    ),
    "speech and a decoder": ("audio", _speech_pair, "Wav2Vec2Model"),
    "T5": ("text", lambda: hf.T5ForConditionalGeneration(hf.T5Config(**T5)), "T5Stack"),
    "the encoder of T5 alone": ("text", lambda: hf.T5EncoderModel(hf.T5Config(**T5)), "T5Stack"),
    "BART": ("text", lambda: hf.BartModel(hf.BartConfig(**PAIR, max_position_embeddings=80)), "BartEncoder"),
    "SqueezeBERT, which always calls its pooler": (
        "text",
        lambda: hf.SqueezeBertModel(hf.SqueezeBertConfig(**WORDS, embedding_size=32)),
        "SqueezeBertModel",
    ),
}

#: Models that cannot be the encoder of a modality, and what the sentence says.
REFUSED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "BERT for pictures": ("vision", lambda: hf.BertModel(hf.BertConfig(**WORDS)), "reads pictures, such as .*got bert"),
    "ViT for words": ("text", lambda: hf.ViTModel(hf.ViTConfig(**VISION)), "reads tokens, such as bert.*got vit"),
    "ViT for sound": ("audio", lambda: hf.ViTModel(hf.ViTConfig(**VISION)), "reads sound, such as wav2vec2.*got vit"),
    "AST": (
        "audio",
        lambda: hf.ASTModel(
            hf.ASTConfig(**SMALL, max_length=64, num_mel_bins=32, frequency_stride=8, time_stride=8, patch_size=8)
        ),
        "audio-spectrogram-transformer reads spectrograms of its own kind.*or declare a model of your own",
    ),
    "Wav2Vec2-BERT": (
        "audio",
        lambda: hf.Wav2Vec2BertModel(hf.Wav2Vec2BertConfig(**SMALL, feature_projection_input_dim=160)),
        "wav2vec2-bert reads spectrograms of its own kind",
    ),
    "VideoMAE": (
        "vision",
        lambda: hf.VideoMAEModel(hf.VideoMAEConfig(**VISION, num_frames=4)),
        r"reads clips of several.*te.Video\(clip_frames=...\)",
    ),
    "MAE": ("vision", lambda: hf.ViTMAEModel(hf.ViTMAEConfig(**VISION, decoder_num_hidden_layers=1)), "random patches"),
    "ViT of another size": (
        "vision",
        lambda: hf.ViTModel(hf.ViTConfig(**{**VISION, "image_size": 64})),
        r"vit fails on pictures of \[32, 32\].*write size_hw = \[64, 64\] in \[vision\]",
    ),
    "CLIP of another size": ("vision", lambda: _clip(64), r"write size_hw = \[64, 64\] in \[vision\]"),
    "too few positions": (
        "text",
        lambda: hf.BertModel(hf.BertConfig(**{**WORDS, "max_position_embeddings": 16})),
        "max_tokens = 64 tokens, it has 16 positions: write fewer max_tokens",
    ),
    "too few token ids": (
        "text",
        lambda: hf.BertModel(hf.BertConfig(**{**WORDS, "vocab_size": 100})),
        "expected an encoder with a row for each of the tokenizer's 259 tokens, got 100",
    ),
}  # fmt: skip


def with_encoder(modality: str, folder: Path, **changes: Any) -> ModelRecipe:
    """The tiny model with another encoder for one modality, from a folder."""
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe)
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    part = getattr(recipe, modality)
    changes = {"frontend": "log-mel", **changes} if kind == "whisper" else changes
    changes = {"pooling": "mean", **changes} if modality == "vision" else changes
    chosen = msgspec.structs.replace(part, encoder=EncoderRecipe(architecture=kind, weights=str(folder)), **changes)
    return msgspec.structs.replace(recipe, **{modality: chosen})


def saved(build: Callable[[], Any], folder: Path) -> Path:
    torch.manual_seed(0)
    build().eval().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", WHOLE)
def test_the_half_that_reads_the_modality_is_taken(name: str, tmp_path: Path):
    modality, build, half = WHOLE[name]
    checkpoint = new_checkpoint(with_encoder(modality, saved(build, tmp_path / "whole")))
    backbone = getattr(checkpoint.model, modality).backbone
    assert type(backbone).__name__.startswith(half)
    theirs = load_file(tmp_path / "whole" / "model.safetensors")
    some = next(value for key, value in backbone.state_dict().items() if key.endswith("weight") and value.dim() > 1)
    assert any(value.shape == some.shape and torch.equal(value, some) for value in theirs.values())
    save_checkpoint(checkpoint, tmp_path / "ck")
    again = load_checkpoint(tmp_path / "ck").model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in checkpoint.model.state_dict().items())


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_the_encoder_is_refused_in_a_sentence(name: str, tmp_path: Path):
    modality, build, words = REFUSED[name]
    with pytest.raises(CheckpointError, match=words):
        new_checkpoint(with_encoder(modality, saved(build, tmp_path / "whole")))


def test_a_frontend_of_another_encoder_is_refused(tmp_path: Path):
    waves = saved(lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**SMALL, **WAVES)), tmp_path / "waves")
    with pytest.raises(CheckpointError, match="wav2vec2 reads waveforms: write frontend = 'z-score'"):
        new_checkpoint(with_encoder("audio", waves, frontend="log-mel"))
    whisper = saved(WHOLE["Whisper with its decoder"][1], tmp_path / "whisper")
    with pytest.raises(CheckpointError, match="write frontend = 'log-mel'"):
        new_checkpoint(with_encoder("audio", whisper, frontend="z-score"))


def test_a_class_token_that_is_not_there_is_not_pooled(tmp_path: Path):
    folder = saved(_siglip, tmp_path / "siglip")
    with pytest.raises(CheckpointError, match="siglip has no class token: write pooling = 'mean'"):
        new_checkpoint(with_encoder("vision", folder, pooling="cls"))


def test_weights_that_leave_tensors_random_are_refused(tmp_path: Path):
    folder = saved(
        lambda: hf.Data2VecAudioModel(hf.Data2VecAudioConfig(**SMALL, **CONVS, conv_pos_kernel_size=5)), tmp_path / "a"
    )
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "encoder.layers.1" not in key}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    gone = len(weights) - len(kept)
    first = re.escape(sorted(weights.keys() - kept.keys())[0])
    with pytest.raises(CheckpointError, match=rf"got {gone} missing \({first}, .*, \.\.\.\), which would stay random"):
        new_checkpoint(with_encoder("audio", folder))


def test_weights_of_half_precision_become_those_of_full(tmp_path: Path):
    folder = saved(lambda: hf.BertModel(hf.BertConfig(**WORDS)).to(torch.bfloat16), tmp_path / "bert")
    checkpoint = new_checkpoint(with_encoder("text", folder))
    assert {value.dtype for value in checkpoint.model.text.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "expected a model that transformers can build|found none"),
        ("{}", "expected a model that transformers can build"),
        (
            '{"model_type": "bert", "hidden_size": 30, "num_attention_heads": 4}',
            "expected a model that transformers can",
        ),
    ],
)
def test_a_configuration_that_builds_nothing_is_one_sentence(content: str, words: str, tmp_path: Path):
    folder = saved(lambda: hf.BertModel(hf.BertConfig(**WORDS)), tmp_path / "bert")
    recipe = with_encoder("text", folder)
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        new_checkpoint(recipe)


def test_an_encoder_that_takes_another_size_than_its_own_is_told(tmp_path: Path):
    folder = saved(lambda: hf.Dinov2Model(hf.Dinov2Config(**{**VISION, "image_size": 64})), tmp_path / "dino")
    recipe = with_encoder("vision", folder)
    assert "dinov2 was made for pictures of [64, 64] and gets [32, 32]" in other_size(new_checkpoint(recipe).model)
    own = with_encoder("vision", folder, size_hw=(64, 64))
    assert other_size(new_checkpoint(own).model) == ""


@pytest.mark.parametrize("config", [{}, {"trust_remote_code": True}], ids=["as it is", "a recipe that trusts it"])
def test_code_beside_weights_is_never_run(config: dict[str, bool], tmp_path: Path):
    folder = saved(lambda: hf.BertModel(hf.BertConfig(**WORDS)), tmp_path / "bert")
    recipe = with_encoder("text", folder)
    encoder = msgspec.structs.replace(recipe.text.encoder, config=config)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"}})
    )
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(CheckpointError, match="expected a model that transformers can build"):
        new_checkpoint(msgspec.structs.replace(recipe, text=msgspec.structs.replace(recipe.text, encoder=encoder)))
    assert not (tmp_path / "ran").exists()
