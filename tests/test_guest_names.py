"""Nothing outside of TAEMI's own room is decided by TAEMI's names, or by its three streams and six emotions.

What a stream is called, and how many there are, stands in a manifest. Docstrings and sentences may name TAEMI's streams
as an example; constants of the code may not. The kinds of streams, which are called video, audio, text and series, have
one home (`taemi_edge.bundle.streams`), and other modules take the words from there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from taemi_edge.bundle.recipe import read_toml
from taemi_edge.bundle.values import HEAD
from taemi_edge.taemi.names import EMOTIONS, INTENSITIES, PARTS

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "taemi_edge"
NAMES = {*PARTS, *EMOTIONS, INTENSITIES, "emotion", "emotions"}
#: TAEMI's streams that are called like their kind: as names of variables and attributes they say the kind.
KINDS = {"audio", "text"}
NUMBERS = (3, 6)
#: What is called so counts streams, outputs, or sets of them.
COUNTED = re.compile(r"stream|output|emotion|modalit|pattern|label|class|full", re.IGNORECASE)

#: The module and the line's own words: why they stand there.
ALLOWED = {
    ("bundle/values.py", "'fusion'"): "HEAD: the part of every model's head is called so (design.md)",
    ("bundle/streams.py", "'audio'"): "AUDIO: the home of the kinds",
    ("bundle/streams.py", "'text'"): "TEXT: the home of the kinds",
    ("bundle/streams.py", "MOST_STREAMS_IN_FULL = 6"): "all 2^N patterns up to N = 6 (design.md)",
    ("runtime/tensorrt/warm_up.py", "_MOST_IN_FULL = 3"): "how many streams let all patterns be warmed up; any N works",
    ("bench/plan.py", "MOST_STREAMS_IN_FULL = 3"): "how many patterns are timed by default; `--all-patterns` times all",
    ("cli/demo.py", "'text'"): "the name of an extra",
    ("cli/doctor.py", "'text'"): "the name of an extra",
    ("media/tokenizer_files.py", "'text'"): "the name of an extra",
    ("cli/run_options.py", "'audio'"): "the option --audio, an address of sound",
    ("corpora/clip_reading.py", "'text'"): "the key of a line of a transcript",
    ("corpora/labelled_clips.py", "'audio'"): "a folder of Hume-Vidmimic2's layout",
    ("engines/known_versions.py", "'-peep:fc_h_fusion=off'"): "a flag of TensorRT's compiler",
    ("live/capture/addresses.py", "'text'"): "a group of a regular expression",
    ("live/capture/sensors/payloads.py", "'text'"): "the key of a line of a transcript",
    ("live/capture/gst_child.py", "len(layout) == 3"): "the letters of RGB and BGR",
    ("live/capture/gst_reader.py", "pixels[..., :3]"): "red, green and blue of RGBA",
    ("media/arrays.py", "eight_bits.shape[3] == 3"): "red, green and blue",
    ("media/messages/sound_messages.py", "'audio'"): "a field of AudioDataStamped",
    ("media/messages/words.py", "'text'"): "the key of a line of a transcript",
    ("media/arrays.py", "pictures[..., :3]"): "red, green and blue of RGBA",
    ("calibration/plot.py", "sorted(found.blocks, key=lambda b: -b.cost)[:6]"): "as many labels as a plot holds",
    ("corpora/plot.py", "max(len(labels), 6)"): "the least width of a figure",
}  # fmt: skip


def _is_room_of_taemi(file: Path) -> bool:
    return file.is_relative_to(PACKAGE / "taemi")


def _findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the source of everything that looks as if it decided by a name or a number of TAEMI's."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if not _is_prose(node, parents) and _tokens(node.value) & (NAMES | KINDS):
                yield node.lineno, repr(node.value)
        elif word := _identifier(node):
            if word in NAMES - KINDS - {HEAD}:  # the head may be called so
                yield getattr(node, "lineno", 0), word
        elif _counts(node):
            yield getattr(node, "lineno", 0), ast.unparse(node)


def _is_prose(node: ast.Constant, parents: dict[ast.AST, ast.AST]) -> bool:
    """Docstrings, what stands in a sentence, and the words of a type, which decide nothing."""
    above = parents.get(node)
    if isinstance(above, ast.Expr) or " " in str(node.value):
        return True
    while above is not None and not isinstance(above, ast.stmt):
        if isinstance(above, ast.JoinedStr) and " " in ast.unparse(above):
            return True
        if isinstance(above, ast.Subscript) and ast.unparse(above.value) == "Literal":
            return True
        above = parents.get(above)
    return False


def _tokens(text: str) -> set[str]:
    """The names in a constant such as "vision+text", "vision_mask" or "label/intensities"."""
    if text in NAMES | KINDS:
        return {text}
    return set(re.split(r"[^a-z]+|_mask\b", text)) & (NAMES - KINDS)


def _identifier(node: ast.AST) -> str:
    """The name of a variable, an attribute, an argument or a keyword."""
    for kind, field in ((ast.Name, "id"), (ast.Attribute, "attr"), (ast.arg, "arg"), (ast.keyword, "arg")):
        if isinstance(node, kind):
            return str(getattr(node, field) or "")
    return ""


def _counts(node: ast.AST) -> bool:
    """Whether something is counted against 3 or 6: a length compared, a range, a slice, or a named number."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(map(_is_number, sides)) and any(map(_is_length, sides))
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        is_counted = called == "range" or (called in ("min", "max") and any(map(_is_length, node.args)))
        return is_counted and any(map(_is_number, node.args))
    if isinstance(node, ast.Subscript):
        slices = [s for s in ast.walk(node.slice) if isinstance(s, ast.Slice)]
        is_counted = any((s.lower is None or s.upper is None) and _is_number(s.lower or s.upper) for s in slices)
        return is_counted and not ast.unparse(node.value).endswith(".shape")
    if isinstance(node, ast.Assign):
        return _is_number(node.value) and any(COUNTED.search(ast.unparse(target)) for target in node.targets)
    if isinstance(node, ast.arguments):
        named = [*node.posonlyargs, *node.args][::-1]
        pairs = [*zip(named, node.defaults[::-1], strict=False), *zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        return any(_is_number(default) and COUNTED.search(arg.arg) for arg, default in pairs)
    return False


def _is_number(node: Any) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in NUMBERS


def _is_length(node: ast.AST) -> bool:
    """A count of things, and not a rank, a version or a position."""
    return bool(re.search(r"\blen\(|\.size\b|\.shape\b|_count\b|\bcount\b", ast.unparse(node)))


@cache
def _found() -> dict[tuple[str, str], int]:
    """Every finding outside of TAEMI's room: its module and source, and its line."""
    found = {}
    for file in (*PACKAGE.rglob("*.py"), PACKAGE / "assets" / "starter_model.txt"):
        if not _is_room_of_taemi(file):
            for line, source in _findings(ast.parse(file.read_text(encoding="utf-8"))):
                found[str(file.relative_to(PACKAGE)), source] = line
    return found


def test_no_module_decides_by_a_name_or_a_number_of_taemis():
    assert len(_found()) > 5, "the search finds nothing at all: mend it"
    assert {place: line for place, line in _found().items() if place not in ALLOWED} == {}


def test_every_exception_is_still_there():
    assert set(ALLOWED) - set(_found()) == set()


@pytest.mark.parametrize(
    "code",
    [
        'if name == "vision": pass',
        'feeds["text"] = 1',
        'ORDER = ("imu", "audio")',
        'key = f"{stream}/intensities"',
        'case = "vision+text"',
        'parts["fusion"]',
        'rows = ["joy"]',
        "manifest.vision",
        "read(vision=None)",
        "for emotion in groups: pass",
        "if len(streams) == 3: pass",
        "if values.shape[-1] != 6: pass",
        "for i in range(6): pass",
        "values[:6]",
        "MOST_OUTPUTS = 6",
        "def draw(rows, outputs=6): pass",
        "def draw(*, streams=3): pass",
    ],
)
def test_what_decides_is_found(code: str):
    assert list(_findings(ast.parse(code))) != []


@pytest.mark.parametrize(
    "code",
    [
        '"""The streams vision, audio and text."""',
        'def f():\n    "text"',
        'help = "such as vision@2-4, with --drop"',
        'kind = Literal["video", "audio"]',
        'raise ValueError(f"expected text, got {x}")',
        "if values.ndim == 3: pass",
        "if sys.version_info >= (3, 11): pass",
        "axis = image.shape[3]",
        "image.shape[:3]",
        "node.input[1:3]",
        "round(value, 6)",
        "word.text",
    ],
)
def test_what_decides_nothing_is_left_alone(code: str):
    assert list(_findings(ast.parse(code))) == []


SCRIPTS = sorted(file for file in (PACKAGE / "live" / "page").glob("*.js") if not file.name.startswith("uPlot"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_the_page_decides_by_kinds_alone(script: Path):
    code = re.sub(r"^\s*//.*$|\s//\s.*$|/\*.*?\*/", "", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    words = {word for quoted in re.findall(r"\"([^\"\n]*)\"|'([^'\n]*)'|`([^`]*)`", code) for word in quoted if word}
    kinds = set(re.findall(r"kinds?\b[^;\n]*?\"(audio|text|video|series)\"", code))
    assert {word for word in words if _tokens(word)} - kinds == set()
    assert not {*re.findall(r"\.(\w+)", code)} & (NAMES - KINDS)
    assert re.findall(r"\.(?:length|size)\s*[=!<>]=*\s*[36]\b|\.slice\([^)]*\b[36]\)", code) == []


def test_the_page_itself_names_no_stream_and_no_output():
    assert {*re.findall(r"\w+", (PACKAGE / "live" / "page" / "index.html").read_text(encoding="utf-8").lower())} & (
        NAMES - KINDS
    ) == set()


def _general_recipes() -> list[Path]:
    """The recipes that are for any model; those of TAEMI say so in their names."""
    found = [*(ROOT / "calibration").glob("*.toml"), *(ROOT / "engines").glob("*.toml")]
    return sorted(file for file in found if not file.name.startswith("taemi"))


@pytest.mark.parametrize("recipe", _general_recipes(), ids=lambda file: file.stem)
def test_recipes_for_any_model_name_no_stream(recipe: Path):
    assert set(_words(read_toml(recipe))) & (NAMES - {HEAD}) == set()


def _words(content: Any) -> Iterator[str]:
    """All keys and strings of a TOML file."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _words(value)
    elif isinstance(content, list):
        for value in content:
            yield from _words(value)
    elif isinstance(content, str):
        yield content
