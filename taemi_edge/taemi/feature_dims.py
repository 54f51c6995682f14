"""How wide the features of each encoder are, and one sentence where an encoder does not take what a recipe feeds it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from taemi_edge.errors import CheckpointError, MissingExtraError, first_line
from taemi_edge.export.library_models import image_size
from taemi_edge.taemi.names import Modality
from taemi_edge.taemi.recipe import ModelRecipe

_INPUTS: dict[Modality, str] = {"vision": "pictures", "audio": "samples", "text": "tokens and their mask"}


@torch.no_grad()
def feature_dims(vision: nn.Module, audio: nn.Module, text: nn.Module, recipe: ModelRecipe) -> dict[Modality, int]:
    """The width of each encoder's output, found by running it once: configurations name it in different ways.

    Raises:
        CheckpointError: an encoder does not take what the recipe feeds it, or does not give features.
    """
    height, width = recipe.vision.size_hw
    samples = round(recipe.audio.chunk_s * recipe.audio.sample_rate_hz)
    ids = torch.ones(1, recipe.text.max_tokens, dtype=torch.int32)
    return {
        "vision": _width("vision", vision, (torch.zeros(1, height, width, 3, dtype=torch.uint8),), 2, recipe),
        "audio": _width("audio", audio, (torch.zeros(1, samples),), 3, recipe),
        "text": _width("text", text, (ids, ids), 3, recipe),
    }


def _width(modality: Modality, encoder: nn.Module, feeds: tuple[Tensor, ...], rank: int, recipe: ModelRecipe) -> int:
    was_training, kind = encoder.training, getattr(recipe, modality).encoder.architecture
    try:
        output = encoder.eval()(*feeds)
    except (MemoryError, MissingExtraError):
        raise
    except Exception as error:  # whatever a network of anybody's raises on input that it was not made for
        said = f"{type(error).__name__}: {first_line(error):.200}"
        if isinstance(error, TypeError):  # a call that it does not take, at any size
            problem = f"does not run on {_INPUTS[modality]} alone: choose another encoder"
        else:
            problem = f"fails on {_fed(modality, encoder, recipe)}"
        raise CheckpointError(f"{modality}: {kind} {problem} ({said})") from error
    finally:
        encoder.train(was_training)
    if modality == "vision" and recipe.vision.pooling == "cls" and not _has_class_token(encoder.backbone):
        raise CheckpointError(f"vision: {kind} has no class token: write pooling = 'mean' in [vision] of the recipe")
    if not isinstance(output, Tensor) or output.dim() != rank or not output.shape[-1]:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        wanted = "(batch, D)" if rank == 2 else "(batch, steps, D)"
        raise CheckpointError(f"{modality}: expected an encoder whose features are {wanted}, got {shape} of {kind}")
    return int(output.shape[-1])


def _fed(modality: Modality, encoder: nn.Module, recipe: ModelRecipe) -> str:
    """What an encoder was run on, and what to write where it takes something else."""
    config = getattr(encoder.backbone, "config", None)
    if modality == "vision":
        asked, own = list(recipe.vision.size_hw), _own_size(config)
        if own and own != asked:
            return (
                f"pictures of {asked}, expected those of its own size: write size_hw = {own} in [vision] of the recipe"
            )
        return (
            f"pictures of size_hw = {asked}: write another size_hw in [vision] of the recipe, or choose another encoder"
        )
    if modality == "audio":
        return (
            f"a chunk of {recipe.audio.chunk_s:g} s: choose whisper or an encoder of waveforms such as wav2vec2, or "
            f"write a longer chunk_s in [audio] of the recipe"
        )
    positions = getattr(config, "max_position_embeddings", None)
    has = f", it has {positions} positions" if positions else ""
    return (
        f"max_tokens = {recipe.text.max_tokens} tokens{has}: write fewer max_tokens in [text] of the recipe, or choose "
        f"another encoder"
    )


def other_size(model: Any) -> str:
    """What to say where the encoder of a `TaemiModel` takes pictures of another size than its own; else empty."""
    recipe: ModelRecipe = model.recipe
    own, asked = _own_size(getattr(model.vision.backbone, "config", None)), list(recipe.vision.size_hw)
    if own is None or own == asked:
        return ""
    return (
        f"vision: {recipe.vision.encoder.architecture} was made for pictures of {own} and gets {asked}: its positions "
        f"are interpolated, or it has none"
    )


def _own_size(config: Any) -> list[int] | None:
    """The height and width that an encoder was made for; None where its configuration does not say."""
    size_hw = image_size(config)
    return None if size_hw is None else list(size_hw)


def _has_class_token(backbone: Any) -> bool:
    """Whether the first of the tokens stands for the whole picture; convolutional maps have no tokens."""
    if not hasattr(backbone, "config"):
        return True
    names = [name for name, _ in backbone.named_parameters()]
    return any(word in name for name in names for word in ("cls_token", "class_token", "class_embedding")) or not any(
        "attention" in name or "attn" in name for name in names
    )
