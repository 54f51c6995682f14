"""Text: the words of a window become token ids whenever they differ from the last window's.

A text is encoded as a whole, so that its features need no ring: they take the first rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.arrays import require_time
from taemi_edge.media.slots import NO_SLOT
from taemi_edge.media.transcripts import Word, spread_words
from taemi_edge.runtime.kinds.kind import Opening, described
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Item, Items, Stopwatch

_EPSILON_S = 1e-6
_END_S = attrgetter("end_s")
#: How long a word takes to say, where only the end of a text is known: about 170 words a minute.
SECONDS_A_WORD = 0.35


@dataclass(frozen=True, eq=False)
class _Encoded:
    """The words that were encoded last, and their token ids; no ids where they have no features."""

    words: tuple[str, ...] = ()
    ids: Array = field(default_factory=lambda: np.zeros(0, np.int32))


class TextState:
    """The words of one source, prepared for the encoder of one stream.

    Args:
        opening: with the tokenizer, and the words that are known beforehand.

    Raises:
        MissingExtraError: there are words, and the package `tokenizers` is not installed.
    """

    face = None
    frames_share = 1.0

    def __init__(self, opening: Opening) -> None:
        if opening.tokenizer is None:
            raise AssertionError("a text is opened with its tokenizer")
        if opening.words:
            opening.tokenizer.require()
        self.presence, self._source = opening.presence, opening.source
        self._tokenizer, self._fixed_steps = opening.tokenizer, opening.fixed_steps
        #: The words that are in the window or still to come, in the order in which they end.
        self._words = sorted(opening.words, key=_END_S)
        self._encoded = _Encoded()
        self._newest_word_s = -1.0

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the last window."""
        return self._encoded.words

    def prepare(self, pieces: Sequence[Word], end_s: float, watch: Stopwatch, lazily: bool) -> Sequence[Word]:
        return pieces

    def batches(self, prepared: Sequence[Word], lost: bool) -> Iterator[Sequence[Any]]:
        """Take in the words of a hop, late ones at their place; a text is encoded at the hop's end."""
        if prepared:
            self._words = sorted([*self._words, *prepared], key=_END_S)
        return iter(())

    def place(self, batch: Sequence[Any]) -> Sequence[Item]:
        return []

    def at_hop_end(self, after_s: float, until_s: float) -> Sequence[Item]:
        """The words spoken in (after_s, until_s].

        Nothing where they are those of the last window, or where the stream is missing.
        """
        del self._words[: bisect_right(self._words, after_s, key=_END_S)]
        spoken = self._words[: bisect_right(self._words, until_s + _EPSILON_S, key=_END_S)]
        if spoken and spoken[-1].end_s > self._newest_word_s:
            self._newest_word_s = spoken[-1].end_s
            self.presence.arrive(self._newest_word_s)
        words = tuple([word.text for word in spoken])
        if words == self._encoded.words or not self.presence.at(until_s).usable:
            return []
        ids = self._tokenizer.ids(" ".join(words)) if words else np.zeros(0, np.int32)
        self._encoded = _Encoded(words, ids)
        return self._items()

    def rows(self, after_s: float, until_s: float) -> Span:
        tokens = len(self._encoded.ids)
        return Span(0, self._fixed_steps if self._fixed_steps is not None and tokens else tokens)

    def repeated(self, items: Sequence[Item]) -> Sequence[Item]:
        """The text of the last window as a whole."""
        return self._items()

    def forget(self) -> None:
        self._encoded = _Encoded()

    def refuse(self) -> None:
        self._encoded = _Encoded(self._encoded.words)

    def forget_face(self) -> None:
        pass

    def _items(self) -> Sequence[Item]:
        ids = self._encoded.ids
        if not len(ids):
            return []
        rows = self.rows(0.0, 0.0)
        return Items("ids", (ids,), (NO_SLOT, self._source, rows.start, 0, rows.count, len(ids)))


class WordIntake:
    """Collects words of a program's own.

    Args:
        name: of the stream, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: list[Word] = []

    def add(self, data: Any, end_s: float) -> None:
        self._waiting += self._words(data, end_s)
        self._waiting.sort(key=lambda word: word.end_s)

    def first_s(self) -> float | None:
        return None

    def take(self, end_s: float, inside: Callable[[float], float]) -> list[Word]:
        words, self._waiting = self._waiting, []
        return [Word(inside(word.start_s), inside(word.end_s), word.text) for word in words]

    def _words(self, data: Any, end_s: float) -> list[Word]:
        """Words with their times; those of a string were said one after the other up to `end_s`."""
        if isinstance(data, str):
            texts = [self._checked(text) for text in data.split()]
            return spread_words(end_s - SECONDS_A_WORD * len(texts), end_s, texts)
        if isinstance(data, (list, tuple)) and all(isinstance(word, Word) for word in data):
            return [Word(require_time(w.start_s), require_time(w.end_s), self._checked(w.text)) for w in data]
        raise UsageError(f"{self._name}: expected a string or a list of Word, got {described(data)}")

    def _checked(self, text: str) -> str:
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise UsageError(f"{self._name}: expected words that can be written in UTF-8, got {text!r:.40}") from error
        return text


def open_stream(opening: Opening) -> TextState:
    """Open the state of a text."""
    return TextState(opening)


def open_intake(name: str, spec: TextSpec, window_s: float) -> WordIntake:
    """Open the intake of a text."""
    return WordIntake(name)


def newest_s(data: Any) -> float | None:
    """Where the last of a list of words ends; None of a string."""
    if isinstance(data, (list, tuple)) and data and all(isinstance(word, Word) for word in data):
        return float(max(word.end_s for word in data))
    return None


def input_lengths(spec: TextSpec) -> None:
    """The steps of a text need not be counted: there is one for each token, or a number that the manifest names."""
    return


def example(spec: TextSpec, length: int) -> dict[str, Array]:
    """A text of padding."""
    return {"ids": np.zeros(length, np.int32)}


def capacity(spec: TextSpec, window_s: float, steps: int) -> int:
    """Room for the longest text."""
    return steps or spec.max_tokens


def share_key(item: Item) -> Hashable:
    """Texts of all lengths share a call."""
    return None


def batch_feeds(items: Sequence[Item]) -> dict[str, Array]:
    """The texts as `ids` and `mask`, int32 (B, T) each, padded with 0 to the longest one."""
    return pad_texts([item.feeds["ids"] for item in items])


def pad_texts(texts: Sequence[Array]) -> dict[str, Array]:
    """Make the text encoder's feeds of B texts.

    Args:
        texts: token ids, int32 (T,) each.

    Returns:
        `ids` and `mask`, int32 (B, T) each, padded with 0 to the longest text.

    Example:
        >>> pad_texts([np.array([5, 6]), np.array([7])])["ids"].tolist()
        [[5, 6], [7, 0]]
    """
    longest = max(len(ids) for ids in texts)
    feeds = {name: np.zeros((len(texts), longest), np.int32) for name in ("ids", "mask")}
    for row, ids in enumerate(texts):
        feeds["ids"][row, : len(ids)] = ids
        feeds["mask"][row, : len(ids)] = 1
    return feeds
