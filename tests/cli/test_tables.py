"""Tables on standard output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from taemi_edge.bundle.records import Candidate
from taemi_edge.cli.tables import make_console, new_table, number, print_build


def test_columns_are_aligned_to_the_right_unless_they_are_named():
    table = new_table("a title", ("part", "size"), left=("part",), no_wrap=("part",))
    assert [(c.header, c.justify, c.no_wrap) for c in table.columns] == [
        ("part", "left", True),
        ("size", "right", False),
    ]


def test_a_pipe_is_160_characters_wide(capsys):
    console = make_console()
    console.print("x" * 150)
    assert console.width == 160
    assert capsys.readouterr().out == "x" * 150 + "\n"


def test_a_figure_that_is_not_defined_is_called_so():
    assert [number(value, 1) for value in (None, 0.25, 3.0)] == ["undefined", "0.2", "3.0"]


def test_brackets_in_a_reason_are_words_and_no_style(capsys):
    """`taemi-edge[export]` lost its extra, and a closing bracket such as [/x] ended the command."""
    reason = "run `pip install 'taemi-edge[export]'` [/x]"
    tried = Candidate(
        part="text", precision="fp32", median_ms=None, p95_ms=None, bytes=0, build_s=0.0, kept=False, reason=reason
    )
    record = SimpleNamespace(
        target="cpu", library="onnxruntime", machine={"architecture": "x"}, candidates=(tried,), flags={}, host=None
    )
    record.verification, record.failure = (), "not tried"
    manifest = SimpleNamespace(verified=False)
    result: Any = SimpleNamespace(record=record, from_cache=False, bundle=SimpleNamespace(manifest=manifest))
    print_build(result)
    assert reason in " ".join(capsys.readouterr().out.split())
