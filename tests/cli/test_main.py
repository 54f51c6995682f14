"""The command line as a whole: its commands and its exit codes."""

from __future__ import annotations

import re
from typing import get_type_hints

import pytest

from taemi_edge.cli.main import COMMANDS


def test_version_and_no_arguments(cli):
    from taemi_edge import __version__

    assert cli("--version").stdout.strip() == __version__
    assert cli("run").returncode == 2


def test_help_lists_the_commands_in_their_order(cli):
    shown = cli("--help").stdout
    found = [name for name in re.findall(r"[a-z]+(?:-[a-z]+)?", shown.partition("Commands")[2]) if name in COMMANDS]
    assert list(dict.fromkeys(found)) == list(COMMANDS)


@pytest.mark.once
@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_what_stands_in_square_brackets(cli_here, monkeypatch, command):
    """A default that is written so is no style of Rich."""
    monkeypatch.setenv("COLUMNS", "300")
    hints = get_type_hints(COMMANDS[command], include_extras=True)
    texts = [info.help for hint in hints.values() for info in getattr(hint, "__metadata__", ()) if info.help]
    wanted = [found for text in texts for found in re.findall(r"\[[a-z][^\]]*\]", text)]
    shown = " ".join(re.sub("[\u2500-\u257f]", " ", cli_here(command, "--help").stdout).split())
    assert [words for words in wanted if " ".join(words.split()) not in shown] == []


def test_bad_input_is_exit_code_2_with_one_line(cli):
    done = cli("inspect", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("taemi-edge: nowhere")
    assert done.stderr.count("\n") == 1
