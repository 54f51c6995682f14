"""Exporting a TAEMI checkpoint: TAEMI is declared as any model is, and goes the same way.

The declaration is `model_of`. Two things are TAEMI's own: its golden feeds come from a clip with a face, speech and
words, and its samples are what the encoders read of that clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.errors import CheckpointError
from taemi_edge.export.contract import Model, Stream
from taemi_edge.export.declared_outputs import Regression
from taemi_edge.export.export_model import Origin, with_evaluations, write_bundle
from taemi_edge.export.inspection import Inspected, inspect_model, parts_of
from taemi_edge.export.kinds import Audio, Text, Video
from taemi_edge.parity.clip_cases import GoldenClip, make_clip_cases, read_clip
from taemi_edge.parity.comparison import ParityReport
from taemi_edge.parity.golden import Case, ModelSpecs, demo_clip
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.names import EMOTIONS, INTENSITIES
from taemi_edge.taemi.reference import Reference, tokens_of
from taemi_edge.taemi.statements import card_of

#: The audio encoder is traced at a length that it is never fed with, so that no length of the runtime is baked in.
_BEYOND_SAMPLES = 320


def export_checkpoint(
    checkpoint: Checkpoint,
    output: Path | str,
    *,
    source: str,
    clip: tuple[Path, Path | None] | None = None,
    untrained_tokens: bool = False,
    evaluations: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> tuple[Bundle, ParityReport]:
    """Export a model as a bundle. When anything fails, no folder is left behind.

    Args:
        checkpoint, output: the model, and the folder to make; an older bundle there is replaced.
        source: a folder or the name of a recipe, for the manifest.
        clip: a video with a face and speech, and its transcript, for the golden feeds; the demo clip by default.
        untrained_tokens: export even though training never reached some of the missing-modality tokens.
        evaluations: what `taemi-edge evaluate --json` wrote of it, for its card.
        progress: receives every stage.

    Returns:
        The bundle, and how far each of its parts is from PyTorch.

    Raises:
        CheckpointError: a token never received a gradient.
        ExportError: a graph lost a dynamic dimension.
        CheckFailedError: a part is further from PyTorch than its tolerance.
        InputError: `clip` has no face, no sound or no words.
        OutputError: `output` holds something else than a bundle.

    Example:
        >>> import taemi_edge as te
        >>> bundle, report = te.export_checkpoint(te.open_checkpoint("taemi-tiny"), "export/mine", source="taemi-tiny")
        >>> bundle.manifest.name, report.ok
        ('taemi-tiny', True)
    """
    _require_trained_tokens(checkpoint, source, untrained_tokens)
    reference = Reference(checkpoint)
    chosen = clip or demo_clip()
    progress.stage(f"reading {chosen[0].name}")
    model = with_evaluations(model_of(checkpoint, read_clip(reference.specs, *chosen)), evaluations)
    found = inspect_model(model, model.read_samples(), parts_of(model))
    found.lengths["audio"]["samples"] += _BEYOND_SAMPLES

    def cases_of(inspected: Inspected, specs: ModelSpecs) -> list[Case]:
        texts = {"text": checkpoint.tokenizer_json}
        return make_clip_cases(reference.specs, texts, reference.run, reference.tokens, *chosen)

    origin, opset = _origin(checkpoint, source), checkpoint.recipe.export.opset
    return write_bundle(model, found, cases_of, output, origin=origin, opset=opset, progress=progress)


def _origin(checkpoint: Checkpoint, source: str) -> Origin:
    return Origin(
        source=source,
        trained=checkpoint.state.trained,
        trained_on=checkpoint.state.trained_on,
        recipe_sha256=recipe_hash(checkpoint.recipe),
        weights=checkpoint.state.weights,
    )


def model_of(checkpoint: Checkpoint, clip: GoldenClip) -> Model:
    """Declare a TAEMI checkpoint as a model.

    Args:
        checkpoint: its encoders, head and tokens are the model's.
        clip: what the encoders read of a clip; it becomes the model's only sample.
    """
    recipe, network, tokens = checkpoint.recipe, checkpoint.model, tokens_of(checkpoint.model)
    steps = network.fusion.token_steps
    video = Video(recipe.vision.size_hw, recipe.vision.frames_per_second, crop="face")
    audio = Audio(recipe.audio.sample_rate_hz, recipe.audio.chunk_s, recipe.audio.context_s)
    text = Text(_Tokenizer(checkpoint.tokenizer_json), recipe.text.max_tokens)
    return Model(
        streams={
            "vision": Stream(
                video, network.vision, tokens["vision"], tile=steps["vision"], presence=recipe.vision.presence
            ),
            "audio": Stream(audio, network.audio, tokens["audio"], tile=steps["audio"], presence=recipe.audio.presence),
            "text": Stream(text, network.text, tokens["text"], tile=steps["text"], presence=recipe.text.presence),
        },
        head=network.fusion,
        outputs={INTENSITIES: Regression(EMOTIONS, range=(0.0, 1.0))},
        samples=[_sample(clip)],
        window_s=recipe.window.length_s,
        hop_s=recipe.window.hop_s,
        metric="pearson",
        tolerances=recipe.tolerances,
        name=recipe.name,
        trained_on=checkpoint.state.trained_on,
        card=card_of(checkpoint.state),
    )


class _Tokenizer:
    """A tokenizer whose text is known, in the form that `taemi_edge.export.inspection.read_tokenizer` takes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def to_str(self) -> str:
        return self._text


def _sample(clip: GoldenClip) -> dict[str, object]:
    """What the encoders read of a clip, as a sample of the model."""
    own = [segment.samples[-segment.chunk_samples :] for segment in clip.segments]
    return {
        "vision/pixels": clip.crops,
        "audio/samples": np.concatenate(own),
        "text/words": " ".join(word.text for word in clip.words),
    }


def _require_trained_tokens(checkpoint: Checkpoint, source: str, untrained_tokens: bool) -> None:
    if checkpoint.state.untrained_tokens and not untrained_tokens:
        raise CheckpointError(
            f"{source}: expected trained tokens, but that of {' and '.join(checkpoint.state.untrained_tokens)} never "
            f"received a gradient: train with modality dropout, or pass --untrained-tokens and never lose that stream"
        )
