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


def test_clips_are_kept_while_there_is_room():
    import numpy as np

    from taemi_edge.corpora.clip_reading import ClipInputs
    from taemi_edge.media.chunks import Segment
    from taemi_edge.taemi.train.clip_examples import KeptClips

    def of(samples: int) -> ClipInputs:
        return ClipInputs(segments=[Segment(0.0, 1.0, np.zeros(samples, np.float32), samples)])

    kept = KeptClips(room=100)
    kept.add("a", of(20))
    kept.add("b", of(10))
    kept.add("c", of(5))
    assert [kept.get(name) is not None for name in "abc"] == [True, False, True]
    kept.add("a", of(1))
    assert len(kept.get("a").segments[0].samples) == 20


def test_clips_are_read_in_worker_processes_and_those_that_cannot_are_told(corpus_folder, tmp_path):
    import shutil

    from taemi_edge.media.tokens import WordTokenizer
    from taemi_edge.taemi.checkpoint import new_checkpoint
    from taemi_edge.taemi.reference import stream_specs_of
    from taemi_edge.taemi.train.clip_examples import open_examples
    from taemi_edge.taemi.vidmimic2 import open_corpus

    corpus = shutil.copytree(corpus_folder, tmp_path / "corpus")
    for broken in ("00011", "00002"):
        (corpus / "raw" / f"{broken}.mp4").write_bytes(b"torn")
    checkpoint = new_checkpoint(tiny_recipe())
    specs = stream_specs_of(checkpoint)
    tokenizer = WordTokenizer(checkpoint.tokenizer_json, specs.text.max_tokens)
    clips = [clip for clip in open_corpus(corpus).clips if clip.split != "test"]
    examples, problems = open_examples(clips, specs.vision, specs.audio, tokenizer, workers=2)
    assert list(problems) == ["00002", "00011"]
    assert {split: len(found.labels) for split, found in examples.items()} == {"train": 9, "valid": 1}
