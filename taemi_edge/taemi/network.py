"""The TAEMI network in PyTorch (arXiv 2603.14976): it estimates six emotion intensities from a face, a voice and words.

From the paper: an encoder for each modality; linear alignment of the features; text features as the queries of two
cross-attentions, over audio and over vision; an MLP to six intensities; one learnable token for each missing modality;
modality dropout in training. The paper does not give the encoders, the sizes, the normalisation, the pooling and the
output function. We chose LayerNorm after alignment, pooling by mean, and a sigmoid.

Shapes in this file: B clips, T steps of a modality, D features of its encoder, d the shared width of the fusion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from taemi_edge.taemi.attention import Attention
from taemi_edge.taemi.feature_dims import feature_dims
from taemi_edge.taemi.names import EMOTIONS, MODALITIES, Modality
from taemi_edge.taemi.pooling import masked_mean
from taemi_edge.taemi.published_heads import TOKEN_STEPS, PublishedHead, make_published_head
from taemi_edge.taemi.recipe import AudioRecipe, FusionRecipe, ModelRecipe, VisionRecipe

# ----------------------------------------------------------------------------------------------------- encoders


class VisionEncoder(nn.Module):
    """Encodes face crops, uint8 RGB (B, H, W, 3), as one feature vector for each frame, (B, D).

    The backbone is a transformers vision model, or any module from scaled pixels (B, 3, H, W) to a map (B, D, h, w).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, recipe: VisionRecipe) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = recipe.pooling
        self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = (pixels.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) / self.std
        output = self.backbone(scaled)
        states: Tensor = output if isinstance(output, Tensor) else output.last_hidden_state
        if states.dim() == 4:  # (B, D, h, w), a convolutional map
            return states.mean((2, 3))
        return states[:, 0] if self.pooling == "cls" else states.mean(1)  # (B, tokens, D)


class AudioEncoder(nn.Module):
    """Encodes mono PCM in [-1, 1], float32 (B, samples), as features (B, T, D).

    The whole input is one segment: a chunk with the context before it. Nothing is masked, since segments of one length
    are batched together.
    """

    def __init__(self, backbone: nn.Module, recipe: AudioRecipe) -> None:
        super().__init__()
        self.backbone = backbone
        config: Any = getattr(backbone, "config", backbone)
        self.is_whisper = getattr(config, "model_type", "") == "whisper"
        self.frontend = LogMel(config.num_mel_bins, recipe.sample_rate_hz) if recipe.frontend == "log-mel" else ZScore()

    def forward(self, samples: Tensor) -> Tensor:
        inputs = self.frontend(samples)
        if self.is_whisper:
            return _encode_whisper(self.backbone, inputs)
        output = self.backbone(inputs)
        states: Tensor = output if isinstance(output, Tensor) else output.last_hidden_state
        return states


class TextEncoder(nn.Module):
    """Encodes token ids and their mask, int32 (B, T), as features (B, T, D)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return states


class ZScore(nn.Module):
    """Scales a segment, (B, samples), to zero mean and unit variance, as wav2vec2's feature extractor does.

    Example:
        >>> ZScore()(torch.tensor([[1.0, 3.0]])).round().tolist()
        [[-1.0, 1.0]]
    """

    def forward(self, samples: Tensor) -> Tensor:
        centred = samples - samples.mean(1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-7)


class LogMel(nn.Module):
    """Computes Whisper's log-mel spectrogram, (B, mels, frames), of samples (B, samples): a frame each 10 ms.

    The windowed DFT is a convolution with fixed filters: TensorRT has no STFT node. At 16 kHz it gives the same
    numbers as transformers' WhisperFeatureExtractor on a segment that is not padded to 30 s. At other rates, frames
    last as long, 25 ms, and the bands reach up to half the rate.
    """

    dft: Tensor
    mels: Tensor

    def __init__(self, mel_bins: int, sample_rate_hz: int = 16_000) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        self.n_fft, self.hop = sample_rate_hz // 40, sample_rate_hz // 100
        bins = self.n_fft // 2 + 1
        window = torch.hann_window(self.n_fft, dtype=torch.float64)
        turns = torch.arange(bins, dtype=torch.float64)[:, None] * torch.arange(self.n_fft) / self.n_fft
        angles = 2 * math.pi * turns
        dft = torch.cat([torch.cos(angles), torch.sin(angles)]) * window
        highest_hz = sample_rate_hz / 2
        mels = mel_filter_bank(bins, mel_bins, 0.0, highest_hz, sample_rate_hz, norm="slaney", mel_scale="slaney")
        self.register_buffer("dft", dft[:, None].float(), persistent=False)
        self.register_buffer("mels", torch.from_numpy(np.ascontiguousarray(mels.T)).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        padded = nn.functional.pad(samples[:, None], (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        waves = nn.functional.conv1d(padded, self.dft, stride=self.hop)[:, :, :-1]  # (B, 2 * bins, frames)
        cosine, sine = waves.chunk(2, dim=1)
        power = torch.matmul(self.mels, cosine.square() + sine.square())
        log = torch.log(power.clamp(min=1e-10)) / math.log(10)
        floor = log.amax((1, 2), keepdim=True) - 8.0
        return (torch.maximum(log, floor) + 4.0) / 4.0


def _encode_whisper(encoder: nn.Module, mels: Tensor) -> Tensor:
    """WhisperEncoder.forward for segments of any length: the position embeddings are cut to the segment."""
    parts = cast("Any", encoder)
    states = nn.functional.gelu(parts.conv1(mels))
    states = nn.functional.gelu(parts.conv2(states)).permute(0, 2, 1)
    states = states + parts.embed_positions.weight[: states.shape[1]]
    for layer in parts.layers:
        output = layer(states, None)
        states = output[0] if isinstance(output, tuple) else output
    normalised: Tensor = parts.layer_norm(states)
    return normalised


# ------------------------------------------------------------------------------------------------------- fusion


class Align(nn.Module):
    """Standardises features of one encoder, (B, T, D), and maps them to the shared width, (B, T, d)."""

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(feature_dim))
        self.register_buffer("feature_std", torch.ones(feature_dim))
        self.linear = nn.Linear(feature_dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        aligned: Tensor = self.norm(self.linear((features - self.feature_mean) / self.feature_std))
        return aligned


class Fusion(nn.Module):
    """Fuses three feature sequences with their masks into six intensities in [0, 1], (B, 6).

    A missing modality arrives as its token: one step, (B, 1, D), with mask 1. `recipe.kind` chooses the paper's model
    ("anchored": the anchor's steps query the two others), one of its baselines, or a head after another paper
    (`published_heads`).

    Attributes:
        reads: the streams whose features reach the output.
        ordered: the streams whose steps must come in the order of time.
        token_steps: for each stream, how many steps of its token stand in for it when it is missing.
    """

    def __init__(self, feature_dims: Mapping[Modality, int], recipe: FusionRecipe) -> None:
        super().__init__()
        self.kind, self.anchor = recipe.kind, recipe.anchor
        self.others: list[Modality] = [m for m in MODALITIES if m != recipe.anchor]
        self.align = nn.ModuleDict({m: Align(feature_dims[m], recipe.dim) for m in MODALITIES})
        attentions: dict[str, list[str]] = {"anchored": [*self.others], "joint-attention": ["joint"]}
        names = attentions.get(recipe.kind, [])
        self.attention = nn.ModuleDict({name: Attention(recipe.dim, recipe.heads) for name in names})
        self.published: PublishedHead | None = make_published_head(recipe)
        self.reads: tuple[Modality, ...] = self.published.reads if self.published else MODALITIES
        self.ordered: tuple[Modality, ...] = self.published.ordered if self.published else ()
        self.token_steps: dict[Modality, int] = dict.fromkeys(MODALITIES, TOKEN_STEPS)
        pooled = {"joint-attention": 1, "late-pooling": 1}.get(recipe.kind, 3) * recipe.dim
        if self.published is not None:
            pooled = self.published.width
        self.branches = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(recipe.dim, recipe.dim), nn.GELU()) for m in MODALITIES}
            if recipe.kind == "late-pooling"
            else {}
        )
        self.head = nn.Sequential(
            nn.Dropout(recipe.dropout),
            nn.Linear(pooled, recipe.hidden_dim),
            nn.GELU(),
            nn.Dropout(recipe.dropout),
            nn.Linear(recipe.hidden_dim, len(EMOTIONS)),
        )

    def forward(
        self,
        vision: Tensor,
        vision_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        text: Tensor,
        text_mask: Tensor,
    ) -> Tensor:
        masks = {"vision": vision_mask, "audio": audio_mask, "text": text_mask}
        features: dict[Modality, Tensor] = {"vision": vision, "audio": audio, "text": text}
        states = {m: self.align[m](features[m]) for m in self.reads}
        pool = self.published or getattr(self, "_" + self.kind.replace("-", "_"))
        pooled = pool(states, masks)
        for m in (m for m in MODALITIES if m not in self.reads):
            pooled = pooled + _nothing_of(features[m]) + _nothing_of(masks[m])
        return torch.sigmoid(self.head(pooled))

    def _anchored(self, states: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        anchor, anchor_mask = states[self.anchor], masks[self.anchor]
        attended = [self.attention[m](anchor, states[m], masks[m]) for m in self.others]
        return torch.cat([masked_mean(x, anchor_mask) for x in (anchor, *attended)], dim=1)

    def _concat(self, states: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        return torch.cat([masked_mean(states[m], masks[m]) for m in MODALITIES], dim=1)

    def _late_pooling(self, states: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        branches = [self.branches[m](masked_mean(states[m], masks[m])) for m in MODALITIES]
        return torch.stack(branches).mean(0)

    def _joint_attention(self, states: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        sequence = torch.cat([states[m] for m in MODALITIES], dim=1)
        mask = torch.cat([masks[m] for m in MODALITIES], dim=1)
        return masked_mean(sequence + self.attention["joint"](sequence, sequence, mask), mask)


def _nothing_of(unread: Tensor) -> Tensor:
    """Zeros, (B, 1), whatever an input holds, NaN too: no number is larger than infinity.

    A TAEMI bundle has all three streams, and the runtime feeds each to its head. Exporters drop an input that reaches
    no output, so a head that reads fewer streams takes the others here and does nothing with them.
    """
    return (unread.float() > torch.inf).float().flatten(1).sum(1, keepdim=True)


class MissingTokens(nn.Module):
    """One vector for each modality in the space of its encoder's outputs. It replaces the features of a missing stream.

    The tokens are learnable, or zeros that stay zeros (`missing_tokens = false`, the paper's ablation).
    """

    def __init__(self, feature_dims: Mapping[Modality, int], learnable: bool) -> None:
        super().__init__()
        for modality in MODALITIES:
            value = torch.randn(feature_dims[modality]) * 0.02 if learnable else torch.zeros(feature_dims[modality])
            self.register_parameter(modality, nn.Parameter(value, requires_grad=learnable))

    def of(self, modality: str) -> Tensor:
        """The token, (D,)."""
        return self.get_parameter(modality)

    def swap(
        self, modality: str, features: Tensor, mask: Tensor, present: Tensor, steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Replace every step of the clips that lack a modality by its token.

        Masked steps are filled with zeros first: a NaN there would spread over its row in spite of the mask.

        Args:
            modality: which token.
            features: (B, T, D).
            mask: int32 (B, T).
            present: bool (B,), false for the clips that lack the modality.
            steps: how many steps of the token the mask shows, at most T; None for all T, which is right for a head
                that does not notice how many there are.
        """
        valid = (mask > 0).unsqueeze(2)
        clean = torch.where(valid, features, torch.zeros_like(features))
        swapped = torch.where(present[:, None, None], clean, self.of(modality))
        shown = torch.ones_like(mask)
        if steps is not None:
            shown[:, steps:] = 0
        return swapped, torch.where(present[:, None], mask, shown)


class FusionHead(nn.Module):
    """The missing tokens and the fusion: all that is trained while the encoders stay frozen."""

    def __init__(self, feature_dims: Mapping[Modality, int], recipe: FusionRecipe, seed: int) -> None:
        super().__init__()
        self.feature_dims = dict(feature_dims)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fusion = Fusion(feature_dims, recipe)
            self.tokens = MissingTokens(feature_dims, recipe.missing_tokens)

    def fuse(
        self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        """Replace absent modalities by their tokens, then fuse.

        Args:
            features: (B, T, D) for each modality.
            masks: int32 (B, T) for each modality.
            present: bool (B,) for each modality.

        Returns:
            Intensities in [0, 1], (B, 6).
        """
        feeds: dict[str, Tensor] = {}
        for m in MODALITIES:
            steps = None if self.fusion.published is None else self.fusion.token_steps[m]
            feeds[m], feeds[f"{m}_mask"] = self.tokens.swap(m, features[m], masks[m], present[m], steps)
        intensities: Tensor = self.fusion(**feeds)
        return intensities

    def head_state(self) -> dict[str, Tensor]:
        """The weights and buffers of the tokens and the fusion alone, without encoders that a subclass adds."""
        return {k: v for k, v in self.state_dict().items() if k.startswith(("fusion.", "tokens."))}


class TaemiModel(FusionHead):
    """The whole model: three encoders, the missing tokens, the fusion head."""

    def __init__(self, vision: VisionEncoder, audio: AudioEncoder, text: TextEncoder, recipe: ModelRecipe) -> None:
        super().__init__(feature_dims(vision, audio, text, recipe), recipe.fusion, recipe.seed)
        self.recipe = recipe
        #: How to build each encoder again without its weights; filled in by taemi_edge.taemi.checkpoint.
        self.encoder_configs: dict[str, dict[str, Any]] = {}
        self.vision, self.audio, self.text = vision, audio, text
