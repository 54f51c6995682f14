"""A tokenizer in plain Python for the simplest form of tokenizer.json: a token a word, cut at spaces.

The `tokenizers` library reads every form, and is used where it is installed. This one form is read without it, so that
a small model of words runs on an installation without extras. Every other form is left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

#: The steps that a text may go through first, by their type in a tokenizer.json.
_STEPS = ("NFD", "StripAccents", "Lowercase", "Replace")
#: Unicode's white space; Python's `split` cuts at four further signs.
_SPACE = re.compile(r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
#: All that is no letter, no digit and no space, as a tokenizer.json says it and as Python does.
_SIGNS = {r"[^\p{L}\p{N}\s]": re.compile(r"[^\w\s]|[_\x1c-\x1f]")}


class WordLevel:
    """Gives the ids of texts, as the `tokenizers` library does for the same file."""

    def __init__(
        self, steps: list[Mapping[str, Any]], vocabulary: Mapping[str, int], unknown: int, marks: _Marks
    ) -> None:
        self._steps, self._vocabulary, self._unknown, self._marks = steps, vocabulary, unknown, marks

    def ids(self, text: str, most: int) -> list[int]:
        """The ids of a text, with the marks that stand around it; of a text that is too long, its last words."""
        for step in self._steps:
            text = _after(step, text)
        before, after = self._marks
        words = [self._vocabulary.get(word, self._unknown) for word in _SPACE.split(text) if word]
        room = max(0, most - len(before) - len(after))
        return [*before, *words[len(words) - min(room, len(words)) :], *after]


#: The ids before and after a text.
_Marks = tuple[list[int], list[int]]


def open_words(tokenizer_json: str) -> WordLevel | None:
    """Read a tokenizer.json whose tokens are words; None where it has any other form.

    Args:
        tokenizer_json: its content.

    Example:
        >>> open_words('{"model": {"type": "BPE"}}') is None
        True
    """
    try:
        content = msgspec.json.decode(tokenizer_json)
        model, steps = content["model"], content["normalizer"]["normalizers"]
        is_words = model["type"] == "WordLevel" and content["pre_tokenizer"]["type"] == "WhitespaceSplit"
        is_known = all(step["type"] in _STEPS and _is_readable(step) for step in steps)
        if not (is_words and is_known):
            return None
        vocabulary = {str(word): int(number) for word, number in model["vocab"].items()}
        if any(not 0 <= number < 2**31 for number in vocabulary.values()):
            return None
        marks = _marks_of(content["post_processor"])
        added = {token["content"] for token in content["added_tokens"]}
        if marks is None or not added <= {"[PAD]", "[CLS]", "[SEP]", "[UNK]"}:
            return None
        return WordLevel(steps, vocabulary, vocabulary[model["unk_token"]], marks)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _marks_of(processor: Mapping[str, Any]) -> _Marks | None:
    """The ids before and after a text; None where it is not put between marks."""
    if processor["type"] != "TemplateProcessing":
        return None
    before: list[int] = []
    after: list[int] = []
    side = before
    for piece in processor["single"]:
        if "Sequence" in piece:
            side = after
        else:
            side += processor["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
    return before, after


def _is_readable(step: Mapping[str, Any]) -> bool:
    return step["type"] != "Replace" or (step["pattern"].get("Regex") in _SIGNS and step["content"] == "")


def _after(step: Mapping[str, Any], text: str) -> str:
    if step["type"] == "NFD":
        return unicodedata.normalize("NFD", text)
    if step["type"] == "StripAccents":
        return "".join(sign for sign in text if unicodedata.category(sign) != "Mn")
    if step["type"] == "Lowercase":
        return text.lower()
    return _SIGNS[step["pattern"]["Regex"]].sub("", text)
