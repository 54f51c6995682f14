"""The words of one source: the words of a window become token ids whenever they differ from the last window's.

A text is encoded as a whole, so that its features need no ring: they take the first rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.presence import StreamPresence

_EPSILON_S = 1e-6


@dataclass(frozen=True, eq=False)
class _Encoded:
    """The words that were encoded last, and their token ids; no ids where they have no features."""

    words: tuple[str, ...] = ()
    ids: Array = field(default_factory=lambda: np.zeros(0, np.int32))


class TextStream:
    """Prepares the words of one source for the text encoder.

    Args:
        tokenizer: makes token ids of words.
        presence: notes when words are spoken.
        words: what is known beforehand to be said, in the order of time.
    """

    def __init__(self, tokenizer: WordTokenizer, presence: StreamPresence, words: Iterable[Word] = ()) -> None:
        self.presence = presence
        self._tokenizer = tokenizer
        self._words = list(words)
        self._encoded = _Encoded()
        self._newest_word_s = -1.0

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the last window."""
        return self._encoded.words

    @property
    def ids(self) -> Array | None:
        """The token ids of the last window, int32 (T,); None where it has none."""
        return self._encoded.ids if len(self._encoded.ids) else None

    def add(self, words: Iterable[Word]) -> None:
        """Add words that were recognised since the last hop."""
        self._words += words

    def new_ids(self, after_s: float, until_s: float) -> Array | None:
        """The token ids of the words spoken in (after_s, until_s], int32 (T,).

        None where the words are those of the last window, or where the stream is missing: nothing is to be encoded.
        """
        self._words = [word for word in self._words if word.end_s > after_s]
        spoken = [word for word in self._words if word.end_s <= until_s + _EPSILON_S]
        if spoken and spoken[-1].end_s > self._newest_word_s:
            self._newest_word_s = spoken[-1].end_s
            self.presence.arrive(self._newest_word_s)
        words = tuple(word.text for word in spoken)
        if words == self._encoded.words or not self.presence.at(until_s).usable:
            return None
        ids = self._tokenizer.feeds([" ".join(words)])["ids"][0] if words else np.zeros(0, np.int32)
        self._encoded = _Encoded(words, ids)
        return self.ids

    def rows(self) -> Array:
        """The rows of the last window's features, (T,), T possibly 0."""
        return np.arange(len(self._encoded.ids))

    def forget(self) -> None:
        """Forget all features; the words are encoded again with the next window."""
        self._encoded = _Encoded()

    def refuse(self) -> None:
        """Forget the features of these words, and do not encode the same words again."""
        self._encoded = _Encoded(self._encoded.words)
