"""The PyTorch reference: the four parts of a checkpoint as functions on numpy arrays.

Every exported or compiled artefact is compared with these outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from taemi_edge.bundle.outputs import OutputSpec, RegressionSpec
from taemi_edge.bundle.streams import AudioSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, Array, PartTolerances
from taemi_edge.export.modules import module_sha256
from taemi_edge.parity.artefact import Artefact
from taemi_edge.parity.clip_cases import make_clip_cases
from taemi_edge.parity.golden import ModelSpecs, demo_clip
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.names import EMOTIONS, INTENSITIES, MODALITIES
from taemi_edge.taemi.network import TaemiModel

#: What TAEMI gives.
OUTPUTS: dict[str, OutputSpec] = {INTENSITIES: RegressionSpec(names=EMOTIONS, range=(0.0, 1.0))}


class TaemiSpecs(ModelSpecs):
    """What TAEMI takes, with its three streams by name."""

    @property
    def vision(self) -> VideoSpec:
        return cast("VideoSpec", self.streams["vision"])

    @property
    def audio(self) -> AudioSpec:
        return cast("AudioSpec", self.streams["audio"])

    @property
    def text(self) -> TextSpec:
        return cast("TextSpec", self.streams["text"])


@dataclass(frozen=True, eq=False)
class Reference:
    """A checkpoint in evaluation mode, run part by part in FP32."""

    checkpoint: Checkpoint

    @property
    def specs(self) -> TaemiSpecs:
        """What the model takes."""
        return stream_specs_of(self.checkpoint)

    @property
    def tokenizer_json(self) -> str:
        """The text of its tokenizer.json."""
        return self.checkpoint.tokenizer_json

    @property
    def tolerances(self) -> PartTolerances:
        """How far an artefact may be from it, by part."""
        return self.checkpoint.recipe.tolerances

    @property
    def tokens(self) -> dict[str, Array]:
        """The missing-modality tokens, float32 (D,) each."""
        return tokens_of(self.checkpoint.model)

    @torch.no_grad()
    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a part: takes its feeds and gives its outputs, both by name."""
        module = part_of(self.checkpoint.model, part)
        output: Tensor = module(**{name: torch.from_numpy(value) for name, value in feeds.items()})
        return {INTENSITIES if part == HEAD else "features": output.numpy()}


def part_of(model: TaemiModel, part: str) -> nn.Module:
    """The module of one part; its `forward` takes the part's inputs by name."""
    module: nn.Module = getattr(model, part)
    return module


def tokens_of(model: TaemiModel) -> dict[str, Array]:
    """The missing-modality tokens, float32 (D,) each."""
    return {m: model.tokens.of(m).detach().numpy().copy() for m in MODALITIES}


def encoder_sha256(model: TaemiModel) -> dict[str, str]:
    """The sha256 of each encoder's weights; see `taemi_edge.export.modules.module_sha256`."""
    return {modality: module_sha256(part_of(model, modality)) for modality in MODALITIES}


def stream_specs_of(checkpoint: Checkpoint) -> TaemiSpecs:
    """Describe what a model takes, from its recipe and the widths of its encoders."""
    recipe, dims = checkpoint.recipe, checkpoint.model.feature_dims
    vision = VideoSpec(
        feature_dim=dims["vision"],
        size_hw=recipe.vision.size_hw,
        frames_per_second=recipe.vision.frames_per_second,
        presence=recipe.vision.presence,
        crop="face",
    )
    audio = AudioSpec(
        feature_dim=dims["audio"],
        sample_rate_hz=recipe.audio.sample_rate_hz,
        chunk_s=recipe.audio.chunk_s,
        context_s=recipe.audio.context_s,
        presence=recipe.audio.presence,
    )
    text = TextSpec(feature_dim=dims["text"], max_tokens=recipe.text.max_tokens, presence=recipe.text.presence)
    streams: dict[str, StreamSpec] = {"vision": vision, "audio": audio, "text": text}
    return TaemiSpecs(
        streams, recipe.window.length_s, max_rows=recipe.export.max_frames, max_batch=recipe.export.max_batch
    )


def checkpoint_artefact(checkpoint: Checkpoint, name: str) -> Artefact:
    """Make an artefact of a checkpoint in memory; `name` is what messages call it."""
    reference = Reference(checkpoint)
    return Artefact(
        name=name,
        is_bundle=False,
        run=reference.run,
        specs=reference.specs,
        outputs=OUTPUTS,
        metric="pearson",
        tokens=reference.tokens,
        tokenizers={"text": reference.tokenizer_json},
        tolerances=reference.tolerances,
        trained_on=checkpoint.state.trained_on,
        cases=lambda: make_clip_cases(
            reference.specs, {"text": reference.tokenizer_json}, reference.run, reference.tokens, *demo_clip()
        ),
        weights_sha256=lambda: encoder_sha256(checkpoint.model),
    )
