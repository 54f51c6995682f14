"""A tokenizer.json from anybody works, or is one sentence; it takes neither minutes nor gigabytes, nor a panic."""

from __future__ import annotations

import base64
import copy
import json
import resource
import shutil
import time
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BundleError
from taemi_edge.media.tokenizer_files import guarded, open_tokenizer
from taemi_edge.media.tokens import WordTokenizer
from tests.bundle.hostile import put

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "well", "a", "##a", "##b", ",", "'", "12", "of", "them", "."]
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
}
GOOD: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": TEMPLATE,
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: number for number, word in enumerate(WORDS)},
    },
}
#: As they stand in the tokenizers of GPT-2, CLIP, GPT-4, GPT-4o, DeepSeek-V3, BLOOM and ModernBERT.
PUBLISHED_PATTERNS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",  # noqa: RUF001  (the marks of several scripts)
    r" {2,}",
    r"\s+",
    r"[一-龥぀-ゟ゠-ヿ]+",  # noqa: RUF001  (the ranges of a script)
]
REFUSED_PATTERNS = [
    "(a+)+$",
    "(a|a)*b",
    "(a*)*c",
    "(?:a|b){2,}",
    "((((a{1,1000}){1,1000}){1,1000}){1,1000})",
    "a*a*a*b",
    "a{1,1000}a{1,1000}a{1,1000}b",
    r"(a)\1",
    r"(?<x>a)\k<x>",
    r"(?<x>a\g<x>?)",
    "(?~a)",
    "a+{1000}",
    "a{2}+",
    "x" * 5000,
]


def changed(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def with_model(**changes: Any) -> str:
    return changed(model={**GOOD["model"], **changes})


def charsmap(content: bytes) -> str:
    return base64.b64encode(content).decode()


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(*steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


DOUBLED = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
HOSTILE = {
    "nothing": "",
    "no table": "[]",
    "null": "null",
    "cut off": json.dumps(GOOD)[:-20],
    "no model": json.dumps({key: value for key, value in GOOD.items() if key != "model"}),
    "deep": '{"normalizer":' + '{"type":"Sequence","normalizers":[' * 5000,
    "nested": changed(normalizer=reduce(lambda inner, _: sequence(inner), range(60), {"type": "Lowercase"})),
    "half a surrogate": '{"model":{"type":"WordLevel","unk_token":"\\ud800","vocab":{"\\ud800":0}}}',
    "doubled 26 times": changed(normalizer=sequence(*[DOUBLED] * 26)),
    "a word in place of a letter": changed(normalizer={**DOUBLED, "content": "x" * 100_000}),
    "put before": changed(normalizer={"type": "Prepend", "prepend": "x" * 1_000_000}),
    "a step too many": changed(normalizer=sequence(*[{"type": "Lowercase"}] * 1000)),
    "a map of nothing": changed(normalizer={"type": "Precompiled", "precompiled_charsmap": ""}),
    "a map that leads outside": changed(
        normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap(b"\x10\0\0\0" + b"\xff" * 16 + b"abc")}
    ),
    "a map of long words": changed(
        normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap(b"\x04\0\0\0abcd" + b"x" * 9999)}
    ),
    "words of any length": with_model(max_input_chars_per_word=10**18),
    "a prefix of megabytes": with_model(continuing_subword_prefix="x" * 5_000_000),
    "no unknown token": with_model(unk_token="nowhere"),
    "no vocabulary": with_model(vocab={}),
    "ids beyond int32": with_model(vocab={word: 4_000_000_000 + number for number, word in enumerate(WORDS)}),
    "ids below 0": with_model(vocab={"[UNK]": -1}),
    "an unknown model": changed(model={"type": "Diffusion"}),
    "an unknown id": changed(model={"type": "Unigram", "unk_id": 10**9, "vocab": [["a", -1.0]]}),
    "no unknown id": changed(model={"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}, post_processor=None),
    "a tree of millions": changed(
        model={"type": "Unigram", "unk_id": 0, "vocab": [[f"{n:06x}" * 20, -1.0] for n in range(20_000)]}
    ),
    "merges of nothing": changed(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}),
    "dropout above 1": changed(model={"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 5.0}),
    "a token of megabytes": changed(added_tokens=[{**ADDED, "id": 50, "content": "ab" * 1_000_000}]),
    "too many added": changed(added_tokens=[{**ADDED, "id": n, "content": f"<{n}>"} for n in range(40_000)]),
    "around a text": changed(post_processor={**TEMPLATE, "single": TEMPLATE["single"][:1] * 10_000}),
    "one token that is many": changed(
        post_processor={
            **TEMPLATE,
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2] * 999, "tokens": ["x"] * 999}},
        }
    ),
    "a token that is not there": changed(post_processor={**TEMPLATE, "special_tokens": {}}),
    "pieces of no length": changed(pre_tokenizer={"type": "FixedLength", "length": 0}),
    "a pattern that does not end": changed(pre_tokenizer=split("(")),
    **{f"pattern {number}": changed(pre_tokenizer=split(text)) for number, text in enumerate(REFUSED_PATTERNS)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tokenizer_is_one_sentence(name: str, capfd: pytest.CaptureFixture[str]):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(BundleError, match="expected a tokenizer.json with .*: export the model again") as caught:
        WordTokenizer(HOSTILE[name], 64).feeds(["a" * 300, "well, a", ""])
    assert len(str(caught.value)) < 400
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10
    assert capfd.readouterr().err == ""


def test_a_tokenizer_of_gigabytes_is_not_parsed():
    with pytest.raises(BundleError, match=r"at most 41,943,040 bytes, got 50,000,002"):
        open_tokenizer('"' + "x" * 50_000_000 + '"')


def test_padding_and_truncation_are_ours():
    padding = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    text = changed(padding=padding, truncation={"max_length": 0, "strategy": "LongestFirst", "stride": 10**9})
    feeds = WordTokenizer(text, 4).feeds(["well, a a a a a", "a"])
    assert feeds["ids"].shape == (2, 4)
    assert (feeds["ids"] == WordTokenizer(json.dumps(GOOD), 4).feeds(["well, a a a a a", "a"])["ids"]).all()


@pytest.mark.parametrize("pattern", PUBLISHED_PATTERNS)
def test_the_patterns_of_published_tokenizers_are_read(pattern: str):
    open_tokenizer(changed(pre_tokenizer=split(pattern)))


@pytest.mark.parametrize("pattern", PUBLISHED_PATTERNS)
def test_a_pattern_that_is_read_ends_soon(pattern: str):
    tokenizer = WordTokenizer(changed(pre_tokenizer=split(pattern)), 64)
    started = time.process_time()
    tokenizer.feeds(["a" * 2000, " " * 2000, "\n" * 2000, "a'" * 1000])
    assert time.process_time() - started < 2


def test_a_failure_while_words_are_read_is_one_sentence():
    """What no trial showed, such as a word that has no unknown token."""
    model = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {}}
    words = ["Well,", "I've", "12", "of", "them.", "Größe", "東京", "Привет", "😀", "a" * 64]
    model["vocab"] = {word: number for number, word in enumerate(words)}
    text = changed(model=model, normalizer=None, pre_tokenizer={"type": "WhitespaceSplit"}, post_processor=None)
    tokenizer = WordTokenizer(text, 8)
    with pytest.raises(BundleError, match="one that works, the library says WordLevel error"):
        tokenizer.feeds(["elsewhere"])


def test_other_errors_are_not_taken_for_the_tokenizers():
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(stop)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_tokenizer_with_one_value_changed_works_or_is_one_sentence(data: st.DataObject):
    content = copy.deepcopy(GOOD)
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [content]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        places += [(here, key) for key in keys]
        waiting += [here[key] for key in keys if isinstance(here[key], (dict, list))]
    here, key = data.draw(st.sampled_from(places))
    here[key] = data.draw(
        st.sampled_from([None, -1, 10**18, 1.5, "", "x" * 1000, [], {}, [[]], True, {"type": "Sequence"}]) | st.text()
    )
    try:
        WordTokenizer(json.dumps(content), 8).feeds(["well, a", ""])
    except BundleError as error:
        assert len(str(error)) < 400


def test_the_tokenizers_of_bundles_stay_as_they_are(tiny: Bundle):
    from tokenizers import Tokenizer

    text = tiny.read_tokenizer("text")
    plain, ours = Tokenizer.from_str(text), open_tokenizer(text)
    for words in ("hello there", "", "東京 😀"):
        assert ours.encode(words).ids == plain.encode(words).ids


def test_the_command_line_says_it_in_one_line(tiny_folder: Path, demo_video: Path, tmp_path: Path, cli_here):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))
    put(folder, "tokenizer.json", HOSTILE["a map that leads outside"].encode())
    done = cli_here("run", folder, demo_video)
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("taemi-edge: tokenizer: expected a tokenizer.json with one that works")
