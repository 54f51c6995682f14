"""Turns words into the token ids that a text encoder takes."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MissingExtraError
from taemi_edge.media.tokenizer_files import guarded, open_tokenizer, tokenizers_library
from taemi_edge.media.word_level import WordLevel, open_words


def reads_words(tokenizer_json: str) -> bool:
    """Whether texts can be tokenized here: without the package `tokenizers`, only those of the simplest form can.

    Args:
        tokenizer_json: the content of a tokenizer.json.
    """
    try:
        tokenizers_library()
    except MissingExtraError:
        return open_words(tokenizer_json) is not None
    return True


class WordTokenizer:
    """Tokenizes texts; of a text that is too long it keeps the last tokens, because the newest words matter most.

    Where the package `tokenizers` is not installed, the simplest form of tokenizer is read without it (`word_level`).
    Another one can be made all the same, for a run in which nobody speaks.

    Args:
        tokenizer_json: the content of a tokenizer.json, as Hugging Face's `tokenizers` writes it.
        max_tokens: how many tokens a text has at most.

    Raises:
        BundleError: the content is no tokenizer, takes more than any real one, or does not work.
    """

    def __init__(self, tokenizer_json: str, max_tokens: int) -> None:
        self._words: WordLevel | None = None
        self._most = max_tokens
        try:
            self._tokenizer = open_tokenizer(tokenizer_json)
        except MissingExtraError:
            self._tokenizer, self._words = None, open_words(tokenizer_json)
            return
        guarded(lambda: self._tokenizer.enable_truncation(max_tokens, direction="left"))

    def require(self) -> None:
        """Make sure that texts can be tokenized.

        Raises:
            MissingExtraError: the package `tokenizers` is not installed, and the tokenizer is not of the simplest form.
        """
        if self._tokenizer is None and self._words is None:
            tokenizers_library()

    def feeds(self, texts: list[str]) -> dict[str, Array]:
        """Tokenize B texts.

        Returns:
            `ids` and `mask`, int32 (B, T) each, padded with 0 to the longest text.

        Raises:
            BundleError: the tokenizer fails on a text, or gives a number that no encoder takes.
            MissingExtraError: the package `tokenizers` is not installed.
        """
        each = self._encoded(texts)
        longest = max(map(len, each))
        ids = np.zeros((len(texts), longest), np.int32)
        mask = np.zeros((len(texts), longest), np.int32)
        for row, own in enumerate(each):
            ids[row, : len(own)] = own
            mask[row, : len(own)] = 1
        return {"ids": ids, "mask": mask}

    def ids(self, text: str) -> Array:
        """Tokenize one text: its ids, int32 (T,).

        Raises:
            BundleError, MissingExtraError: see `feeds`.
        """
        return self._encoded([text])[0]

    def _encoded(self, texts: list[str]) -> list[Array]:
        """The ids of each text; the fast call leaves out where in the text each token came from."""

        self.require()
        if self._words is not None:
            return [np.array(self._words.ids(text, self._most), np.int32) for text in texts]

        def encode() -> list[Array]:
            return [np.array(encoding.ids, np.int32) for encoding in self._tokenizer.encode_batch_fast(texts)]

        return guarded(encode)
