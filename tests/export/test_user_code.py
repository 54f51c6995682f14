"""Code of the user's is imported where a command names it; whatever it raises is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")

from taemi_edge.errors import ContractError
from taemi_edge.export.user_code import load_model, names_a_function

MODEL = """
import taemi_edge as te
from torch import nn
from helping import WIDTH

class Head(nn.Module):
    def forward(self, imu):
        return imu[:, 0, :2]

def build():
    return te.Model({"imu": te.Stream(te.Series(6), nn.Linear(6, WIDTH))}, Head(),
                    {"state": te.Classes(["a", "b"])}, [{"imu/values": [0.0] * 6}], 1.0, 0.5)

def wrong():
    return 3

def broken():
    return 1 / 0

def leaving():
    raise SystemExit("enough")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that declares a model, with a neighbour that it imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helping.py").write_text("WIDTH = 4")
    (tmp_path / "mine14.py").write_text(MODEL)
    return tmp_path / "mine14.py"


@pytest.mark.parametrize("argument", ["mine.py:build", "package.module:build", "/abs/mine.py:build"])
def test_a_function_is_named(argument: str):
    assert names_a_function(argument)


@pytest.mark.parametrize("argument", ["taemi-mobile", "export/taemi-tiny", "model.toml", "a.py:", ":build", "a b:c"])
def test_something_else_is_named(argument: str):
    assert not names_a_function(argument)


def test_a_file_is_imported_with_its_neighbours(file: Path):
    assert list(load_model(f"{file}:build").streams) == ["imu"]


def test_a_module_is_imported_by_its_name(file: Path):
    assert load_model("mine14:build").window_s == 1.0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nothing", "expected a function 'nothing'.*found Head, build, wrong, broken, leaving"),
        ("wrong", "return a taemi_edge.Model, got a int"),
        ("broken", r"raised ZeroDivisionError: division by zero \(mine14.py, line 18\)"),
        ("leaving", "raised SystemExit: enough"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_sentence(file: Path, function: str, words: str):
    with pytest.raises(ContractError, match=words) as caught:
        load_model(f"{file}:{function}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import not_there", "importing it raised ModuleNotFoundError"),
        ("def build(: pass", r"raised SyntaxError.*line 1"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path, text: str, words: str):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ContractError, match=words):
        load_model(f"{tmp_path / 'bad.py'}:build")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ContractError, match="expected a Python file"):
        load_model(f"{tmp_path / 'none.py'}:build")
