"""Labelled clips: what is said in them, and how a corpus is called."""

from __future__ import annotations

import pytest

from taemi_edge.errors import TranscriptError
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.corpora.label_files import ROW, touch, write_labels


def test_an_empty_transcript_is_a_missing_modality_and_a_broken_one_is_an_error(tmp_path):
    write_labels(tmp_path, f"1,{ROW}", f"2,{ROW}", f"3,{ROW}")
    touch(tmp_path / "transcripts/00001.txt")
    (tmp_path / "transcripts/00002.vtt").write_text("WEBVTT\n")
    (tmp_path / "transcripts/00003.vtt").write_text("no header\n")
    empty, silent, broken = open_corpus(tmp_path).clips
    assert empty.words(3.0) == silent.words(3.0) == []
    with pytest.raises(TranscriptError, match="expected WEBVTT"):
        broken.words(3.0)


def test_a_synthetic_corpus_is_called_so(corpus_folder):
    corpus = open_corpus(corpus_folder)
    assert (corpus.synthetic.seed, corpus.synthetic.clips) == (3, 14)
    assert corpus.name == "the synthetic corpus of seed 3 (14 clips)"
    assert [len(corpus.split(s)) for s in ("train", "valid", "test")] == [10, 2, 2]
