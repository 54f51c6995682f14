"""Text: the words of a window are encoded when they differ from the last window's, and only then."""

from __future__ import annotations

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.kinds.text import TextStream
from taemi_edge.runtime.presence import StreamPresence


@pytest.fixture
def stream(tiny: Bundle) -> TextStream:
    tokenizer = WordTokenizer(tiny.tokenizer_file("text").read_text(encoding="utf-8"), 32)
    words = [Word(0.0, 0.4, "so"), Word(0.5, 0.9, "it"), Word(1.0, 1.4, "is")]
    return TextStream(tokenizer, StreamPresence(tiny.manifest.streams["text"].presence), words)


def test_words_are_encoded_once(stream: TextStream):
    ids = stream.new_ids(-3.0, 1.0)
    assert stream.words == ("so", "it")
    assert stream.rows().tolist() == list(range(len(ids)))
    assert stream.new_ids(-2.9, 1.1) is None
    assert stream.new_ids(-2.5, 1.5) is not None
    assert stream.words == ("so", "it", "is")


def test_words_that_leave_the_window_leave_the_text(stream: TextStream):
    stream.new_ids(-1.0, 1.5)
    stream.new_ids(0.45, 2.0)
    assert stream.words == ("it", "is")


def test_words_that_are_recognised_later_are_added(stream: TextStream):
    stream.new_ids(-2.0, 1.5)
    stream.add([Word(1.6, 1.9, "so")])
    assert stream.new_ids(-2.0, 2.0) is not None
    assert stream.words[-1] == "so"


def test_forgotten_words_are_encoded_again_and_refused_ones_are_not(stream: TextStream):
    stream.new_ids(-2.0, 1.5)
    stream.forget()
    assert stream.new_ids(-2.0, 1.5) is not None
    stream.refuse()
    assert stream.ids is None
    assert stream.new_ids(-2.0, 1.5) is None
