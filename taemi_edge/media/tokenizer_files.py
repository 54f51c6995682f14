"""Reads a `tokenizer.json` from anybody: what cannot be meant is refused before the `tokenizers` library sees it.

The library is native code that trusts its file. Some files make it take gigabytes, some take minutes, and some end in a
panic, which is no `Exception` to Python. So the file is read here first, part by part: what this toolkit sets itself
(truncation, padding) or never asks for (decoding) is dropped, and everything that multiplies text is bounded.
"""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

from taemi_edge.bundle.json_files import values_problem
from taemi_edge.bundle.limits import (
    MOST_ADDED_CHARACTERS,
    MOST_ADDED_TOKENS,
    MOST_AFFIX,
    MOST_COMPONENT_BYTES,
    MOST_COMPONENTS,
    MOST_GROWTH,
    MOST_MERGES,
    MOST_PATTERN,
    MOST_SPECIAL_TOKENS,
    MOST_TOKENIZER_BYTES,
    MOST_TREE_NODES,
    MOST_VOCABULARY,
    MOST_WORD_CHARACTERS,
)
from taemi_edge.errors import BundleError, MissingExtraError
from taemi_edge.media.native_output import quiet_native_code

#: What a tokenizer does with a text, in this order; the model follows.
_COMPONENTS = ("normalizer", "pre_tokenizer", "post_processor")
#: The keys under which a component holds others.
_NESTED = ("normalizers", "pretokenizers", "processors")
#: Texts that show at once whether a tokenizer works: nothing, words, other writing, figures, and signs.
_TRIED = ("", "Well, I've 12 of them.", "  Größe 東京 Привет\n\t😀", "a" * 64)
_Given = TypeVar("_Given")


class _Added(msgspec.Struct):
    """One of `added_tokens`."""

    content: str
    id: int


class _Model(msgspec.Struct):
    """What is read of `model`; the vocabulary stays text."""

    type: str | None = None
    vocab: msgspec.Raw = msgspec.Raw(b"{}")
    merges: msgspec.Raw = msgspec.Raw(b"[]")
    max_input_chars_per_word: int = 100
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    unk_token: str | None = None


def open_tokenizer(text: str) -> Any:
    """Open a tokenizer, and try it on a few texts.

    Args:
        text: the content of a tokenizer.json.

    Returns:
        A `tokenizers.Tokenizer` that neither truncates nor pads.

    Raises:
        BundleError: the content is no tokenizer, takes more than any real one, or does not work.
        MissingExtraError: the package `tokenizers` is not installed.
    """
    library = tokenizers_library()
    content = _checked(text).decode("utf-8")
    with quiet_native_code():  # a panic writes two lines of its own
        tokenizer = guarded(lambda: library.Tokenizer.from_str(content))
        guarded(lambda: tokenizer.encode_batch(list(_TRIED)))
    return tokenizer


def tokenizers_library() -> Any:
    """The module `tokenizers`: the extra `text`, which an installation for models without words does without.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise MissingExtraError("tokenizers", "text", "reading words") from error
    return tokenizers


def guarded(use: Callable[[], _Given]) -> _Given:
    """Do something with a tokenizer.

    Raises:
        BundleError: it failed; the library raises a bare `Exception`, or a panic that is none.
    """
    try:
        return use()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _refused(f"one that works, the library says {error!s:.200}") from error


def _checked(text: str) -> bytes:
    """The content of a tokenizer.json without what is not needed; everything else is as it was."""
    if len(text) > MOST_TOKENIZER_BYTES:
        raise _refused(f"at most {MOST_TOKENIZER_BYTES:,} bytes, got {len(text):,}")
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        model = msgspec.json.decode(parts.get("model", b"null"), type=_Model)
        added = msgspec.json.decode(parts.get("added_tokens", b"[]"), type=list[_Added] | None) or []
        components = {name: msgspec.json.decode(_small(parts, name)) for name in _COMPONENTS}
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _refused(f"JSON as the library `tokenizers` writes it: {error!s:.200}") from error
    problem = _model_problem(model) or _added_problem(added)
    problem = problem or next((found for each in components.values() if (found := _component_problem(each))), None)
    if problem:
        raise _refused(problem)
    for name in ("truncation", "padding", "decoder"):
        parts[name] = msgspec.Raw(b"null")
    return msgspec.json.encode(parts)


def _small(parts: dict[str, msgspec.Raw], name: str) -> msgspec.Raw:
    raw = parts.get(name, msgspec.Raw(b"null"))
    if len(bytes(raw)) > MOST_COMPONENT_BYTES:
        raise ValueError(f"its {name} has {len(bytes(raw)):,} bytes, and at most {MOST_COMPONENT_BYTES:,} are read")
    return raw


def _model_problem(model: _Model) -> str | None:
    scored = bytes(model.vocab).startswith(b"[")  # a list of tokens, each with its score
    if bytes(model.vocab).count(b",") > MOST_VOCABULARY * (1 + scored):
        return f"at most {MOST_VOCABULARY:,} tokens, got more"
    if bytes(model.merges).count(b",") > MOST_MERGES * 2:
        return f"at most {MOST_MERGES:,} merges, got more"
    if scored and _nodes(model.vocab) > MOST_TREE_NODES:
        return f"tokens that make a tree of at most {MOST_TREE_NODES:,} nodes, got more"
    if not 1 <= model.max_input_chars_per_word <= MOST_WORD_CHARACTERS:
        return f"max_input_chars_per_word from 1 to {MOST_WORD_CHARACTERS}, got {model.max_input_chars_per_word}"
    affixes = (model.continuing_subword_prefix, model.end_of_word_suffix, model.unk_token)
    if (longest := max(len(affix or "") for affix in affixes)) > MOST_AFFIX:
        return f"a prefix, a suffix and an unknown token of at most {MOST_AFFIX} letters, got {longest:,}"
    return None


def _nodes(vocabulary: msgspec.Raw) -> int:
    """How many nodes the tree of all tokens with scores has: a node for each byte that a token does not share."""
    try:
        tokens = [token.encode("utf-8") for token, _ in msgspec.json.decode(vocabulary, type=list[tuple[str, float]])]
    except ValueError:
        return 0  # the library says so
    most = sum(map(len, tokens))
    if not MOST_TREE_NODES < most < 4 * MOST_TREE_NODES:
        return most
    shared = (os.path.commonprefix(pair) for pair in pairwise(sorted(tokens)))  # noqa: RUF071  (bytes, and no paths)
    return most - sum(map(len, shared))


def _added_problem(added: list[_Added]) -> str | None:
    letters = sum(len(token.content) for token in added)
    if len(added) > MOST_ADDED_TOKENS or letters > MOST_ADDED_CHARACTERS:
        return (
            f"at most {MOST_ADDED_TOKENS:,} added tokens of {MOST_ADDED_CHARACTERS:,} letters together, got "
            f"{len(added):,} of {letters:,}"
        )
    return None


def _component_problem(component: Any) -> str | None:
    """Say what a normalizer, a pre-tokenizer or a post-processor does that no real one does; None where it is real."""
    if problem := values_problem(component):
        return problem.removeprefix("expected ")
    growth = 1.0
    for number, step in enumerate(_steps(component)):
        if number >= MOST_COMPONENTS:
            return f"at most {MOST_COMPONENTS} steps, got more"
        if problem := _step_problem(step):
            return problem
        growth *= _growth(step)
        if growth > MOST_GROWTH:
            return f"steps that make a text at most {MOST_GROWTH} times as long, got more"
    return None


def _steps(component: Any) -> Iterator[dict[str, Any]]:
    """The steps of a component, those of nested sequences one by one."""
    waiting = [component]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            for key in _NESTED:
                waiting += step[key] if isinstance(step.get(key), list) else []


def _step_problem(step: dict[str, Any]) -> str | None:
    pattern = step.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if isinstance(regex, str) and (problem := _regex_problem(regex)):
        return problem
    for key in ("prepend", "content", "replacement"):
        if isinstance(step.get(key), str) and len(step[key]) > MOST_AFFIX:
            return f"{key} of at most {MOST_AFFIX} letters, got {len(step[key]):,}"
    if isinstance(step.get("precompiled_charsmap"), str) and (longest := _longest(step["precompiled_charsmap"])):
        return f"a map of letters to at most {MOST_AFFIX} letters, got {longest:,}"
    pieces = len(step["single"]) if isinstance(step.get("single"), list) else 0
    special = step.get("special_tokens")
    for token in special.values() if isinstance(special, dict) else ():
        ids = token.get("ids") if isinstance(token, dict) else None
        pieces += len(ids) if isinstance(ids, list) else 0
    if pieces > MOST_SPECIAL_TOKENS:
        return f"at most {MOST_SPECIAL_TOKENS} special tokens around a text, got {pieces:,}"
    return None


def _growth(step: dict[str, Any]) -> float:
    """How many times as long a step may make a text, by what it puts in place of something or between all letters."""
    pattern, content = step.get("pattern"), step.get("content")
    if not isinstance(content, str) or not isinstance(pattern, dict):
        return 1.0
    found = pattern.get("String")
    return max(1.0, len(content) / len(found)) if isinstance(found, str) and found else 1.0 + len(content)


def _longest(charsmap: str) -> int:
    """The longest text that a compiled map puts in a letter's place, if it is too long; else 0.

    Source: https://github.com/google/sentencepiece/blob/master/src/normalizer.cc (DecodePrecompiledCharsMap)
    """
    try:
        content = base64.b64decode(charsmap, validate=True)
    except ValueError:
        return 0  # the library says so
    texts = content[4 + int.from_bytes(content[:4], "little") :]
    longest = max(map(len, texts.split(b"\0")), default=0)
    return longest if longest > MOST_AFFIX else 0


def _regex_problem(pattern: str) -> str | None:
    """Say why a pattern may try for minutes; None where it does not.

    A pattern that repeats a group, or repeats more than twice on one way through it, is tried in many ways on one text.
    The patterns of published tokenizers do neither.
    """
    if len(pattern) > MOST_PATTERN:
        return f"patterns of at most {MOST_PATTERN:,} letters, got {len(pattern):,}"
    if found := _STRANGE.search(pattern):
        return f"patterns without {found.group()!r:.20}"
    repeats = depth = at = 0
    while at < len(pattern):
        letter = pattern[at]
        depth += (letter == "(") - (letter == ")")
        repeats = 0 if letter == "|" and depth == 0 else repeats
        at = _atom_end(pattern, at)
        if count := _COUNT.match(pattern, at):
            most, at = _most(count), count.end()
            again = _COUNT.match(pattern, at + (pattern[at : at + 1] == "?"))
            if (letter == ")" and most > 1) or again:
                return "patterns that repeat neither a group nor a repetition"
            repeats += most > _FEW
        if repeats > _MOST_REPEATS:
            return f"patterns with at most {_MOST_REPEATS} repetitions in a row"
    return None


#: References, recursion, conditions and absence: what published tokenizers have no need of.
_STRANGE = re.compile(r"\\[kg1-9]|\(\?[~(]")
#: How often something is repeated.
_COUNT = re.compile(r"[*+?]|\{(\d{0,6})(,?)(\d{0,6})\}")
#: So many repetitions stand one after the other in patterns of published tokenizers, such as `\s*[\r\n]+`.
_MOST_REPEATS = 2
#: `{1,3}` is no repetition to fear.
_FEW = 8


def _atom_end(pattern: str, at: int) -> int:
    """The place behind an escape, a class of letters (which may hold others), `(?`, or one letter."""
    if pattern[at] == "\\" or pattern[at : at + 2] == "(?":
        return at + 2
    if pattern[at] != "[":
        return at + 1
    depth = 0
    while at < len(pattern):
        depth += (pattern[at] == "[") - (pattern[at] == "]")
        at += 2 if pattern[at] == "\\" else 1
        if depth == 0:
            break
    return at


def _most(count: re.Match[str]) -> float:
    """The most times that a repetition allows."""
    low, comma, high = count.groups()
    if low is None:
        return 1 if count.group() == "?" else math.inf
    return int(high or 0) if high else math.inf if comma else int(low or 0)


def _refused(wanted: str) -> BundleError:
    return BundleError(f"tokenizer: expected a tokenizer.json with {wanted}: export the model again")
