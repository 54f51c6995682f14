"""End-to-end batches: clips that are read and encoded in training give what a feature store holds."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")


from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.recipe import ModelRecipe


def tiny_recipe(**changes: str) -> ModelRecipe:
    return load_recipe("export", "taemi-tiny", ModelRecipe, {"training.epochs": "2", **changes})


def test_end_to_end_batches_are_what_a_store_holds(corpus_folder, store_folder):
    from taemi_edge.corpora.clip_reading import Reading
    from taemi_edge.corpora.feature_store import open_store
    from taemi_edge.media.tokens import WordTokenizer
    from taemi_edge.taemi.checkpoint import new_checkpoint
    from taemi_edge.taemi.reference import stream_specs_of
    from taemi_edge.taemi.train.clip_examples import ClipExamples
    from taemi_edge.taemi.train.feature_examples import feature_set
    from taemi_edge.taemi.vidmimic2 import open_corpus

    checkpoint = new_checkpoint(tiny_recipe())
    specs = stream_specs_of(checkpoint)
    tokenizer = WordTokenizer(checkpoint.tokenizer_json, specs.text.max_tokens)
    clips = open_corpus(corpus_folder).split("train")
    examples = ClipExamples(clips, specs.vision, specs.audio, tokenizer, Reading())
    chosen = torch.arange(len(clips))
    with torch.no_grad():
        live = examples.batch(checkpoint.model, chosen)
    stored = feature_set(open_store(store_folder), "train").batch(checkpoint.model, chosen)
    for m in MODALITIES:
        assert torch.equal(live.masks[m] * live.present[m][:, None], stored.masks[m])
        assert torch.equal(live.present[m], stored.present[m])
        assert torch.allclose(live.features[m] * live.masks[m][..., None], stored.features[m], atol=2e-3, rtol=1e-2)
