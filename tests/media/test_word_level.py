"""The tokenizer in plain Python gives what the library gives for the same file, and leaves other forms alone."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")

from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.errors import MissingExtraError
from taemi_edge.media.tokens import WordTokenizer, reads_words
from taemi_edge.media.word_level import open_words
from taemi_edge.taemi.vocabulary import byte_tokenizer_json, word_tokenizer_json

WORDS = word_tokenizer_json(["so it is", "it is so, is it?", "I'm a café", "im A cafe"], most=20)
BYTES = byte_tokenizer_json()
SIGNS = st.text(
    alphabet="aAéßİI_-.'\u2019 0९٣½²\t\n\u00a0\u3000中\U0001d7d8😀\u0301\u200bǅΣς\x1c\x85\u2028", max_size=40
)


@given(st.one_of(SIGNS, st.text(max_size=40)))
def test_it_gives_the_ids_of_the_library(text: str):
    found = open_words(WORDS)
    assert found is not None
    encodable = text.encode("utf-8", "replace").decode()
    assert found.ids(encodable, 512) == tokenizers.Tokenizer.from_str(WORDS).encode(encodable).ids


@pytest.mark.parametrize("most", [2, 3, 5, 100])
def test_of_a_long_text_the_last_words_are_kept_as_the_library_does(most: int):
    theirs = tokenizers.Tokenizer.from_str(WORDS)
    theirs.enable_truncation(most, direction="left")
    found = open_words(WORDS)
    assert found is not None
    assert found.ids("so it is a cafe", most) == theirs.encode("so it is a cafe").ids


def test_a_window_is_tokenized_without_the_library(monkeypatch):
    texts = ["so it is", "is it a café, so?"]
    theirs = WordTokenizer(WORDS, 5).feeds(texts)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    ours = WordTokenizer(WORDS, 5)
    ours.require()
    for name, values in ours.feeds(texts).items():
        assert values.dtype == np.int32
        assert np.array_equal(values, theirs[name])
    with pytest.raises(MissingExtraError, match=r"taemi-edge\[text\]"):
        WordTokenizer(BYTES, 5).require()
    assert reads_words(WORDS)
    assert not reads_words(BYTES)


SLOW = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}


def changed(**parts: object) -> str:
    return json.dumps({**json.loads(WORDS), **parts})


@pytest.mark.parametrize(
    "text",
    [
        byte_tokenizer_json(),
        "",
        "[]",
        "null",
        '{"model": 3}',
        "[" * 100_000,
        changed(pre_tokenizer={"type": "Whitespace"}),
        changed(normalizer={"type": "BertNormalizer"}),
        changed(normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}]}),
        changed(normalizer={"type": "Sequence", "normalizers": [SLOW]}),
        changed(post_processor=None),
        changed(post_processor={"type": "RobertaProcessing"}),
        changed(added_tokens=[{"id": 99, "content": "<x>"}]),
        changed(model={"type": "WordLevel", "vocab": {"a": 1}, "unk_token": "[UNK]"}),
        changed(model={"type": "WordLevel", "vocab": {"[UNK]": 2**31}, "unk_token": "[UNK]"}),
    ],
)  # fmt: skip
def test_every_other_form_is_left_to_the_library(text: str):
    assert open_words(text) is None
