"""Turns words into the token ids that a text encoder takes."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.tokenizer_files import guarded, open_tokenizer


class WordTokenizer:
    """Tokenizes texts; of a text that is too long it keeps the last tokens, because the newest words matter most.

    Args:
        tokenizer_json: the content of a tokenizer.json, as Hugging Face's `tokenizers` writes it.
        max_tokens: how many tokens a text has at most.

    Raises:
        BundleError: the content is no tokenizer, takes more than any real one, or does not work.
    """

    def __init__(self, tokenizer_json: str, max_tokens: int) -> None:
        self._tokenizer = open_tokenizer(tokenizer_json)
        guarded(lambda: self._tokenizer.enable_truncation(max_tokens, direction="left"))

    def feeds(self, texts: list[str]) -> dict[str, Array]:
        """Tokenize B texts.

        Returns:
            `ids` and `mask`, int32 (B, T) each, padded with 0 to the longest text.

        Raises:
            BundleError: the tokenizer fails on a text, or gives a number that no encoder takes.
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
            BundleError: see `feeds`.
        """
        return self._encoded([text])[0]

    def _encoded(self, texts: list[str]) -> list[Array]:
        """The ids of each text; the fast call leaves out where in the text each token came from."""

        def encode() -> list[Array]:
            return [np.array(encoding.ids, np.int32) for encoding in self._tokenizer.encode_batch_fast(texts)]

        return guarded(encode)
