"""The command line as a whole: its commands and its exit codes."""

from __future__ import annotations

import re

from taemi_edge.cli.main import COMMANDS


def test_version_and_no_arguments(cli):
    from taemi_edge import __version__

    assert cli("--version").stdout.strip() == __version__
    assert cli("run").returncode == 2


def test_help_lists_the_commands_in_their_order(cli):
    found = re.findall(r"^\u2502 ([a-z-]+) +\S", cli("--help").stdout, re.MULTILINE)
    assert [name for name in found if name in COMMANDS] == list(COMMANDS)


def test_bad_input_is_exit_code_2_with_one_line(cli):
    done = cli("inspect", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("taemi-edge: nowhere")
    assert done.stderr.count("\n") == 1
