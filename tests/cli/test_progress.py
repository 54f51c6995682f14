"""Progress where no terminal is: a line for each stage."""

from __future__ import annotations

from taemi_edge.cli.progress import WARM_UP, _reached, shown_progress
from taemi_edge.runtime.tensorrt import warm_up


def test_a_log_has_stages_and_no_counts(capsys):
    with shown_progress() as progress:
        progress.stage("reading clips")
        progress.count(1, 2, "clips")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "reading clips\n")


def test_a_notebook_that_asks_for_colours_has_no_bars(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # Jupyter sets it for commands that cells run
    with shown_progress() as progress:
        progress.stage("exporting vision")
        progress.count(1, 2, "frames")
    assert capsys.readouterr().err == "exporting vision\n"


def test_things_are_counted_and_media_is_measured():
    assert _reached(3, 14) == "3/14"
    assert _reached(3.5, None) == "3.5 s"


def test_engines_that_take_long_to_warm_up_are_a_stage(capsys):
    assert warm_up.log.name == WARM_UP
    before = list(warm_up.log.handlers), warm_up.log.level
    with shown_progress():
        warm_up.log.info("warming up: %d of %d cases", 3, 24)
    assert "warming up: 3 of 24 cases\n" in capsys.readouterr().err
    assert (list(warm_up.log.handlers), warm_up.log.level) == before
