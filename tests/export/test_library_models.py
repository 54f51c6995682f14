"""Models of transformers as encoders of a declared model: what is not taken is named with what to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")
hf = pytest.importorskip("transformers", reason="these are its models")

import taemi_edge as te
from taemi_edge.errors import ContractError
from taemi_edge.export.inspection import inspect_model, parts_of
from tests.export.encoders import SMALL, VISION, Picture

WORDS = {**SMALL, "vocab_size": 99, "max_position_embeddings": 80}


def clip() -> Any:
    text, vision = {**WORDS, "projection_dim": 16}, {**VISION, "projection_dim": 16}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))


def siglip() -> Any:
    return hf.SiglipModel(hf.SiglipConfig(text_config={**WORDS, "projection_size": 32}, vision_config=VISION))


def vit() -> Any:
    return hf.ViTModel(hf.ViTConfig(**VISION))


class Head(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)

    def forward(self, eye):
        return self.layer(eye.mean(1))


def model_with(encoder: torch.nn.Module, size_hw: tuple[int, int] = (32, 32)) -> te.Model:
    return te.Model(
        streams={"eye": te.Stream(te.Video(size_hw, frames_per_second=2.0, crop="whole"), encoder)},
        head=Head(),
        outputs={"state": te.Classes(["still", "moving"])},
        samples=[{"eye/pixels": np.zeros((4, *size_hw, 3), np.uint8)}],
        window_s=2.0,
        hop_s=0.5,
    )


REFUSED: dict[str, tuple[Callable[[], te.Model], str]] = {
    "a whole CLIP": (lambda: model_with(clip()), r"clip reads several things at once.*\(text_model or vision_model\)"),
    "a whole CLIP in a module": (lambda: model_with(Picture(clip())), r"\(model.text_model or model.vision_model\)"),
    "a whole SigLIP": (lambda: model_with(siglip()), "siglip reads several things at once"),
    "a bare ViT": (
        lambda: model_with(vit()),
        "a vit of transformers takes scaled input.*returns its last_hidden_state",
    ),
    "a ViT of another size": (
        lambda: model_with(Picture(vit()), (64, 64)),
        r"its vit was made for pictures of 32 x 32: declare size_hw=\(32, 32\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_named_with_what_to_write(name: str):
    build, words = REFUSED[name]
    model = build()
    with pytest.raises(ContractError, match=f"eye: the encoder fails on pixels uint8 .*{words}"):
        inspect_model(model, model.read_samples(), parts_of(model))


def test_the_half_that_the_sentence_names_is_taken():
    model = model_with(Picture(clip().vision_model))
    found = inspect_model(model, model.read_samples(), parts_of(model))
    assert found.streams["eye"].feature_dim == 32
