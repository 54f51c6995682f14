"""JSON files are whole, end in a newline and read back as what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taemi_edge.bundle.json_files import to_json, write_json
from taemi_edge.bundle.spec import WindowSpec
from taemi_edge.errors import OutputError


@pytest.mark.parametrize(
    ("indent", "text"),
    [(2, '{\n  "length_s": 10.0,\n  "hop_s": 0.5\n}'), (-1, '{"length_s":10.0,"hop_s":0.5}')],
    ids=["indented", "one line"],
)
def test_frozen_data_is_json(indent: int, text: str, tmp_path: Path):
    window = WindowSpec(length_s=10.0, hop_s=0.5)
    assert to_json(window, indent) == text
    write_json(tmp_path / "new" / "window.json", window, indent)
    assert (tmp_path / "new" / "window.json").read_text() == text + "\n"


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path):
    file = tmp_path / "a.json"
    write_json(file, {"clips": "café"})
    with pytest.raises(TypeError):
        write_json(file, object())
    assert json.loads(file.read_text(encoding="utf-8")) == {"clips": "café"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_in_the_place_of_the_file_is_one_sentence(tmp_path: Path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match="a.json: cannot be written"):
        write_json(tmp_path / "a.json", 1)
