"""JSON lines in a file: whole lines, also after a power cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.runtime.json_lines import JsonLines


def test_a_file_is_made_with_its_first_line(tmp_path: Path):
    file = tmp_path / "new" / "p.jsonl"
    with JsonLines(file) as lines:
        assert not file.exists()
        lines.write('{"a": 1}')
        lines.write('{"a": 2}')
    assert file.read_text() == '{"a": 1}\n{"a": 2}\n'


@pytest.mark.parametrize(
    ("before", "kept"), [('{"a": 0}\n', '{"a": 0}\n'), ('{"a": 0}\n{"a"', '{"a": 0}\n'), ('{"a": 0}', '{"a": 0}\n')]
)
def test_half_a_line_is_cut_off_before_more_are_appended(tmp_path: Path, before: str, kept: str):
    file = tmp_path / "p.jsonl"
    file.write_text(before)
    with JsonLines(file, append=True) as lines:
        lines.write('{"a": 1}')
    assert file.read_text() == kept + '{"a": 1}\n'


def test_lines_without_a_file_go_to_standard_output(capsys: pytest.CaptureFixture[str]):
    with JsonLines(None) as lines:
        lines.write("{}")
    assert capsys.readouterr().out == "{}\n"
