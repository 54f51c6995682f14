"""Encoders of many families, small and with random weights: what people will bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers as hf
from torch import nn

from taemi_edge.bundle.values import TensorSpec

PIXELS = TensorSpec(name="pixels", dtype="uint8", shape=("batch", 32, 32, 3))
SAMPLES = TensorSpec(name="samples", dtype="float32", shape=("batch", "samples"))
IDS, MASK = (TensorSpec(name=name, dtype="int32", shape=("batch", "tokens")) for name in ("ids", "mask"))
VALUES = TensorSpec(name="values", dtype="float32", shape=("batch", "steps", 6))
STEPS_MASK = TensorSpec(name="mask", dtype="int32", shape=("batch", "steps"))

#: The length of every dynamic dimension while tracing.
LENGTHS = {"batch": 2, "tokens": 7, "samples": 3200, "steps": 11}

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
CONVS = {"conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4), "num_feat_extract_layers": 3}
WAVES = {**CONVS, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}


class Picture(nn.Module):
    """Pixels to one vector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels):
        x = pixels.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1
        return self.model(pixel_values=x).pooler_output


class Sound(nn.Module):
    """A waveform to one vector for each of its steps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples):
        return self.model(samples).last_hidden_state


class Words(nn.Module):
    """Ids and their mask to one vector for each token."""

    def __init__(self, model: nn.Module, **options: bool) -> None:
        super().__init__()
        self.model, self.options = model, options

    def forward(self, ids, mask):
        return self.model(input_ids=ids, attention_mask=mask, **self.options).last_hidden_state


class Convolutions(nn.Module):
    """A 1-D network over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(6, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 32, 3, padding=1), nn.ReLU())

    def forward(self, values):
        return self.net(values.transpose(1, 2)).transpose(1, 2)


class Recurrent(nn.Module):
    """A bidirectional GRU over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 16, batch_first=True, bidirectional=True)

    def forward(self, values):
        return self.gru(values)[0]


class RecurrentWithAttention(nn.Module):
    """A recurrence, and PyTorch's own Transformer on top: the dynamo exporter freezes this one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 16, batch_first=True, bidirectional=True)
        self.attention = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)

    def forward(self, values, mask):
        return self.attention(self.lstm(values)[0], src_key_padding_mask=mask == 0)


class Attention(nn.Module):
    """PyTorch's own Transformer over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Linear(6, 32)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)

    def forward(self, values, mask):
        return self.encoder(self.widen(values), src_key_padding_mask=mask == 0)


class Spectrogram(nn.Module):
    """AST over log-mel frames of a fixed number."""

    def __init__(self) -> None:
        super().__init__()
        config = hf.ASTConfig(**SMALL, max_length=64, num_mel_bins=32, frequency_stride=8, time_stride=8, patch_size=8)
        self.model = hf.ASTModel(config)

    def forward(self, frames):
        return self.model(frames).pooler_output


class Patches(nn.Module):
    """PatchTST over a series of a fixed number of steps."""

    def __init__(self) -> None:
        super().__init__()
        config = hf.PatchTSTConfig(
            num_input_channels=6,
            context_length=48,
            patch_length=8,
            patch_stride=8,
            d_model=32,
            num_attention_heads=4,
            num_hidden_layers=2,
            ffn_dim=64,
        )
        self.model = hf.PatchTSTModel(config)

    def forward(self, values):
        return self.model(past_values=values).last_hidden_state.mean((1, 2))


@dataclass(frozen=True)
class Encoder:
    """How to build an encoder, and what it takes and gives; a slow one takes more than a few seconds."""

    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    shape: tuple[int | str, ...]
    slow: bool = False


def _picture(model: Callable[[], nn.Module]) -> Encoder:
    return Encoder(lambda: Picture(model()), (PIXELS,), ("batch", 32))


def _sound(model: Callable[[], nn.Module]) -> Encoder:
    return Encoder(lambda: Sound(model()), (SAMPLES,), ("batch", "steps", 32))


def _words(model: Callable[[], nn.Module], *, slow: bool = False, **options: bool) -> Encoder:
    return Encoder(lambda: Words(model(), **options), (IDS, MASK), ("batch", "tokens", 32), slow)


def _deberta() -> nn.Module:
    attention = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16}
    config = hf.DebertaV2Config(
        **SMALL, vocab_size=99, max_position_embeddings=64, norm_rel_ebd="layer_norm", **attention
    )
    config._attn_implementation = "eager"
    return hf.DebertaV2Model(config)


def _decoder(config: type, model: type) -> Callable[[], nn.Module]:
    return lambda: model(config(**SMALL, vocab_size=99, num_key_value_heads=2, max_position_embeddings=64))


DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 99, "max_position_embeddings": 64}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}

ENCODERS = {
    "CLIP": _picture(lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VISION))),
    "SigLIP": _picture(lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**VISION))),
    "DINOv2": _picture(lambda: hf.Dinov2Model(hf.Dinov2Config(**VISION))),
    "ConvNeXt": _picture(lambda: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1] * 4))),
    "HuBERT": _sound(lambda: hf.HubertModel(hf.HubertConfig(**SMALL, **WAVES))),
    "WavLM": _sound(lambda: hf.WavLMModel(hf.WavLMConfig(**SMALL, **WAVES, attn_implementation="eager"))),
    "Data2Vec": _sound(lambda: hf.Data2VecAudioModel(hf.Data2VecAudioConfig(**SMALL, **CONVS, conv_pos_kernel_size=5))),
    "DistilBERT": _words(lambda: hf.DistilBertModel(hf.DistilBertConfig(**DISTIL))),
    "DeBERTa-v2": _words(_deberta),
    "ModernBERT": _words(
        lambda: hf.ModernBertModel(
            hf.ModernBertConfig(**SMALL, vocab_size=99, pad_token_id=0, attn_implementation="eager")
        )
    ),
    "Qwen2": _words(_decoder(hf.Qwen2Config, hf.Qwen2Model), use_cache=False),
    "SmolLM": _words(_decoder(hf.LlamaConfig, hf.LlamaModel), use_cache=False),
    "1-D CNN": Encoder(Convolutions, (VALUES,), ("batch", "steps", 32)),
    "BiGRU": Encoder(Recurrent, (VALUES,), ("batch", "steps", 32)),
    "nn.TransformerEncoder": Encoder(Attention, (VALUES, STEPS_MASK), ("batch", "steps", 32)),
    "BiLSTM with attention": Encoder(RecurrentWithAttention, (VALUES, STEPS_MASK), ("batch", "steps", 32)),
    "AST": Encoder(Spectrogram, (TensorSpec(name="frames", dtype="float32", shape=("batch", 64, 32)),), ("batch", 32)),
    "PatchTST": Encoder(
        Patches, (TensorSpec(name="values", dtype="float32", shape=("batch", 48, 6)),), ("batch", 32), slow=True
    ),
}
