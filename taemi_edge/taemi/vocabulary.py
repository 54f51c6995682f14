"""Tokenizers that need no file: one whose tokens are bytes, and one whose tokens are the words of a corpus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

#: What `tokenizer` of a recipe's [text] calls them.
BYTES, WORDS = "bytes", "words"
_SPECIALS = ("[PAD]", "[CLS]", "[SEP]")
_UNKNOWN = "[UNK]"
#: A vocabulary of words has these without any word.
FEWEST_TOKENS = len(_SPECIALS) + 1
#: A word that a corpus has once might as well be a mistake in writing.
_FEWEST = 2
_NO_WORD = r"[^\p{L}\p{N}\s]"


def byte_tokenizer_json() -> str:
    """A tokenizer without a vocabulary file: a token a UTF-8 byte, between [CLS] and [SEP]; 0 is padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*_SPECIALS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _between_marks(tokenizer)


def word_tokenizer_json(texts: Iterable[str], most: int) -> str:
    """A tokenizer whose tokens are the words of some texts, between [CLS] and [SEP]; 0 is padding.

    Case, accents and punctuation are left out. Every word that is not in the vocabulary is the token [UNK].

    Args:
        texts: what was said.
        most: the size of the vocabulary: the most frequent words that occur more than once have a token.

    Example:
        >>> from tokenizers import Tokenizer
        >>> made = Tokenizer.from_str(word_tokenizer_json(["Well, well!", "So well, so so."], most=6))
        >>> made.encode("well... so be it").tokens
        ['[CLS]', 'well', 'so', '[UNK]', '[UNK]', '[SEP]']
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    rules = [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    normaliser = normalizers.Sequence([*rules, normalizers.Replace(Regex(_NO_WORD), "")])
    counts = Counter(word for text in texts for word in re.split(r"\s+", normaliser.normalize_str(text)) if word)
    frequent = sorted((word for word, count in counts.items() if count >= _FEWEST), key=lambda w: (-counts[w], w))
    kept = [*_SPECIALS, _UNKNOWN, *frequent][:most]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(kept)}, unk_token=_UNKNOWN))
    tokenizer.normalizer = normaliser
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _between_marks(tokenizer)


def _between_marks(tokenizer: object) -> str:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[attr-defined]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return str(tokenizer.to_str())  # type: ignore[attr-defined]
