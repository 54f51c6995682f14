"""TAEMI with a decoder-only language model as text encoder, which is what its paper names as the next step.

    taemi-edge export examples/llm-text/model.py:build --output export/llm-text

`build` has a tiny one, `build_full_width` one as wide as Qwen2-0.5B. All encoders have random weights: this shows that
such an encoder goes the whole way, and not what a language model knows. The recipe beside this file is the tiny model;
TAEMI's own commands (`extract`, `train`, `evaluate`, `export`) take it as it is.

Two things make a decoder an encoder here: `use_cache = false`, since an encoder is a pure function of its input, and
padding on the right, which no earlier token sees through the causal mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import taemi_edge as te
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.taemi.checkpoint import Checkpoint, new_checkpoint
from taemi_edge.taemi.recipe import ModelRecipe

RECIPE = Path(__file__).with_name("taemi-llm-tiny.toml")
EMOTIONS = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")
#: What Qwen2-0.5B has beside the width: 24 layers and a large vocabulary, 494 million parameters.
FULL_SIZE = {"num_hidden_layers": 24, "vocab_size": 151_936}
#: The sizes of a layer of Qwen2-0.5B. Two of them are enough to see whether the width exports.
FULL_WIDTH = {
    "hidden_size": 896,
    "num_hidden_layers": 2,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
}


def checkpoint(**sizes: int) -> Checkpoint:
    """The model of the recipe with other sizes of its language model, in evaluation mode; its weights are random."""
    changes = {f"text.encoder.config.{name}": str(size) for name, size in sizes.items()}
    made = new_checkpoint(load_recipe("export", str(RECIPE), ModelRecipe, changes))
    language_model: Any = made.model.text.backbone
    language_model.set_attn_implementation("eager")
    made.model.eval()
    return made


def build() -> te.Model:
    """The tiny model of the recipe, as taemi-edge takes it."""
    return _declare(checkpoint())


def build_full_width() -> te.Model:
    """The same with a language model of the width of Qwen2-0.5B: two layers, 30 million parameters."""
    return _declare(checkpoint(**FULL_WIDTH))


def build_full_size() -> te.Model:
    """The same with a language model of the size of Qwen2-0.5B: 494 million parameters, 2.0 GB of weights."""
    return _declare(checkpoint(**(FULL_WIDTH | FULL_SIZE)))


def _declare(made: Checkpoint) -> te.Model:
    model, recipe = made.model, made.recipe
    video = te.Video(recipe.vision.size_hw, recipe.vision.frames_per_second, crop="face")
    audio = te.Audio(recipe.audio.sample_rate_hz, recipe.audio.chunk_s, recipe.audio.context_s)
    text = te.Text(Tokenizer.from_str(made.tokenizer_json), recipe.text.max_tokens)
    return te.Model(
        streams={
            name: te.Stream(kind, encoder, missing=model.tokens.of(name), presence=described.presence)
            for name, kind, encoder, described in (
                ("vision", video, model.vision, recipe.vision),
                ("audio", audio, model.audio, recipe.audio),
                ("text", text, model.text, recipe.text),
            )
        },
        head=model.fusion,
        outputs={"intensities": te.Regression(EMOTIONS, range=(0.0, 1.0), metrics=("pearson",))},
        samples=some_samples(made),
        window_s=recipe.window.length_s,
        hop_s=recipe.window.hop_s,
        metric="pearson",
    )


def some_samples(made: Checkpoint) -> list[dict[str, Any]]:
    """Eight windows of noise with a few words: enough to compare networks with, since no weight has learnt anything."""
    random, tokenizer = np.random.default_rng(0), Tokenizer.from_str(made.tokenizer_json)
    samples = []
    for words in ("so it is", "no", "that was a good day", "well") * 2:
        ids = np.array(tokenizer.encode(words).ids, np.int32)
        samples.append(
            {
                "vision/pixels": random.integers(0, 256, (6, *made.recipe.vision.size_hw, 3), np.uint8),
                "audio/samples": random.normal(size=16_000).astype(np.float32) * 0.1,
                "text/ids": ids,
                "text/mask": np.ones_like(ids),
            }
        )
    return samples
