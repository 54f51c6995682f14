"""Tables on standard output."""

from __future__ import annotations

from taemi_edge.cli.tables import make_console, new_table, number


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
