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
