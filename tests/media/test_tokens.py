"""Token ids of texts."""

from __future__ import annotations

import numpy as np

from taemi_edge.media.tokens import WordTokenizer


def test_of_a_long_text_the_newest_words_stay(tiny):
    tokenizer = WordTokenizer(tiny.tokenizer_file("text").read_text(encoding="utf-8"), 8)
    feeds = tokenizer.feeds(["abcdefghij", "yz"])
    assert feeds["ids"].dtype == feeds["mask"].dtype == np.int32
    assert feeds["mask"].sum(1).tolist() == [8, 4]
    assert feeds["ids"][1, 4:].tolist() == [0] * 4
    kept = tokenizer.feeds(["efghij"])["ids"]
    np.testing.assert_array_equal(feeds["ids"][0], kept[0])


def test_the_ids_of_one_text_are_those_of_a_batch(tiny):
    tokenizer = WordTokenizer(tiny.tokenizer_file("text").read_text(encoding="utf-8"), 8)
    for text in ("so it is", "", "abcdefghij", "Ärger, \u4f60\u597d!"):
        ids = tokenizer.ids(text)
        assert ids.dtype == np.int32
        assert ids.tolist() == tokenizer.feeds([text])["ids"][0].tolist()
        assert ids.tolist() == tokenizer._tokenizer.encode(text).ids  # the fast call leaves out offsets alone
