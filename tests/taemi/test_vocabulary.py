"""Tokenizers that need no file."""

from __future__ import annotations

import pytest

Tokenizer = pytest.importorskip("tokenizers").Tokenizer

from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.taemi.vocabulary import byte_tokenizer_json, word_tokenizer_json


def test_frequent_words_come_first_and_equal_ones_by_the_alphabet():
    made = Tokenizer.from_str(word_tokenizer_json(["b a", "a b", "c c c", "once"], most=20))
    assert [made.id_to_token(number) for number in range(made.get_vocab_size())] == [
        "[PAD]", "[CLS]", "[SEP]", "[UNK]", "c", "a", "b",
    ]  # fmt: skip


def test_the_vocabulary_has_no_more_words_than_there_is_room_for():
    made = Tokenizer.from_str(word_tokenizer_json(["a a b b c c"], most=5))
    assert made.get_vocab_size() == 5
    assert made.encode("a b").tokens == ["[CLS]", "a", "[UNK]", "[SEP]"]


def test_case_accents_and_signs_do_not_matter():
    made = Tokenizer.from_str(word_tokenizer_json(["Café! I'm", "cafe im"], most=20))
    assert made.encode("CAFÉ, i'm...").tokens == ["[CLS]", "cafe", "im", "[SEP]"]


def test_the_same_texts_give_the_same_file():
    texts = ["so it is", "it is so", "is it"]
    assert word_tokenizer_json(texts, 9) == word_tokenizer_json(list(texts), 9)


@pytest.mark.parametrize("made", [byte_tokenizer_json(), word_tokenizer_json(["a a"], 9), word_tokenizer_json([], 4)])
def test_the_runtime_reads_them(made: str):
    ids = WordTokenizer(made, 8).ids("a a")
    assert (ids[0], ids[-1]) == (1, 2)
