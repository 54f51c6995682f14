"""A decoder-only language model as text encoder: what makes it an encoder, and the whole TAEMI around it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="examples are PyTorch models")
transformers = pytest.importorskip("transformers", reason="the language model is one of transformers'")

from taemi_edge.export.checks import require_one_file
from tests.examples.loading import load_example

model_file = load_example("llm-text")


@pytest.fixture(scope="module")
def text():
    return model_file.checkpoint().model.text


def test_padding_on_the_right_is_not_read(text):
    ids = torch.randint(3, 259, (2, 9), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4], dtype=torch.int32)
    with torch.no_grad():
        padded, short = text(ids, mask), text(ids[1:, :5], mask[1:, :5])
    torch.testing.assert_close(padded[1, :5], short[0], atol=1e-5, rtol=0)


def test_no_call_remembers_another_one(text):
    ids, mask = torch.arange(3, 9, dtype=torch.int32)[None], torch.ones(1, 6, dtype=torch.int32)
    with torch.no_grad():
        first = text(ids, mask)
        text(ids.flip(1), mask)
        assert torch.equal(first, text(ids, mask))
    assert not text.backbone.config.use_cache


def test_the_declaration_is_taemi_with_another_text_encoder():
    declared = model_file.build()
    assert list(declared.streams) == ["vision", "audio", "text"]
    assert len(declared.outputs["intensities"].names) == 6
    assert len(declared.read_samples()) == 8


def test_the_width_of_half_a_billion_parameters():
    declared = model_file.build_full_width()
    decoder = declared.streams["text"].encoder.backbone
    assert decoder.config.hidden_size == 896
    assert 25e6 < sum(parameter.numel() for parameter in decoder.parameters()) < 35e6
    assert declared.streams["text"].stand_in.shape == (1, 896)


def test_the_full_size_has_half_a_billion_parameters_and_fits_into_one_file():
    sizes = model_file.FULL_WIDTH | model_file.FULL_SIZE
    with torch.device("meta"):
        decoder = transformers.Qwen2Model(transformers.Qwen2Config(**sizes))
    count = sum(parameter.numel() for parameter in decoder.parameters())
    assert count == 494_032_768
    require_one_file(4 * count)
