"""Text: the words of a window are encoded when they differ from the last window's, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.kinds import text
from taemi_edge.runtime.kinds.kind import Opening
from taemi_edge.runtime.kinds.text import TextState, pad_texts
from taemi_edge.runtime.presence import StreamPresence
from taemi_edge.runtime.rings import Span

WORDS = [Word(0.0, 0.4, "so"), Word(0.5, 0.9, "it"), Word(1.0, 1.4, "is")]


def opened(tiny: Bundle, fixed_steps: int | None = None) -> TextState:
    tokenizer = WordTokenizer(tiny.tokenizer_file("text").read_text(encoding="utf-8"), 32)
    spec = tiny.manifest.streams["text"]
    presence = StreamPresence(spec.presence)
    return text.open_stream(Opening(spec, presence, 32, fixed_steps=fixed_steps, words=WORDS, tokenizer=tokenizer))


@pytest.fixture
def stream(tiny: Bundle) -> TextState:
    return opened(tiny)


def test_words_are_encoded_once(stream: TextState):
    [item] = stream.at_hop_end(-3.0, 1.0)
    assert stream.words == ("so", "it")
    assert stream.rows(-3.0, 1.0) == item.rows == Span(0, len(item.feeds["ids"]))
    assert stream.at_hop_end(-2.9, 1.1) == []
    assert len(stream.at_hop_end(-2.5, 1.5)) == 1
    assert stream.words == ("so", "it", "is")


def test_an_encoder_that_gives_one_vector_takes_one_row(tiny: Bundle):
    stream = opened(tiny, fixed_steps=1)
    assert not stream.rows(-3.0, 1.0).count
    [item] = stream.at_hop_end(-3.0, 1.0)
    assert len(item.feeds["ids"]) > 1
    assert item.rows == stream.rows(-3.0, 1.0) == Span(0, 1)


def test_words_that_leave_the_window_leave_the_text(stream: TextState):
    stream.at_hop_end(-1.0, 1.5)
    stream.at_hop_end(0.45, 2.0)
    assert stream.words == ("it", "is")


def test_a_word_that_comes_late_stands_where_it_was_said(stream: TextState):
    stream.at_hop_end(-2.0, 1.5)
    list(stream.batches([Word(0.9, 0.95, "late")], lost=False))
    stream.at_hop_end(-2.0, 2.0)
    assert stream.words == ("so", "it", "late", "is")


def test_words_stand_in_the_order_in_which_they_end(tiny: Bundle):
    """Words that were known beforehand, and the same words as they come."""
    tokenizer = WordTokenizer(tiny.tokenizer_file("text").read_text(encoding="utf-8"), 32)
    spec = tiny.manifest.streams["text"]
    backwards = Opening(spec, StreamPresence(spec.presence), 32, words=WORDS[::-1], tokenizer=tokenizer)
    stream = text.open_stream(backwards)
    stream.at_hop_end(0.4, 1.4)  # a word that ends where a window begins is not in it
    assert stream.words == ("it", "is")


def test_words_that_are_recognised_later_are_added(stream: TextState):
    stream.at_hop_end(-2.0, 1.5)
    assert list(stream.batches([Word(1.6, 1.9, "so")], lost=False)) == []
    assert len(stream.at_hop_end(-2.0, 2.0)) == 1
    assert stream.words[-1] == "so"


def test_forgotten_words_are_encoded_again_and_refused_ones_are_not(stream: TextState):
    stream.at_hop_end(-2.0, 1.5)
    stream.forget()
    assert len(stream.at_hop_end(-2.0, 1.5)) == len(stream.repeated([])) == 1
    stream.refuse()
    assert stream.repeated([]) == []
    assert stream.at_hop_end(-2.0, 1.5) == []


def test_texts_are_padded_to_the_longest():
    feeds = pad_texts([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert feeds["ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert feeds["mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
