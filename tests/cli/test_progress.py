"""Progress where no terminal is: a line for each stage."""

from __future__ import annotations

from taemi_edge.cli.progress import _reached, shown_progress


def test_a_log_has_stages_and_no_counts(capsys):
    with shown_progress() as progress:
        progress.stage("reading clips")
        progress.count(1, 2, "clips")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "reading clips\n")


def test_things_are_counted_and_media_is_measured():
    assert _reached(3, 14) == "3/14"
    assert _reached(3.5, None) == "3.5 s"
