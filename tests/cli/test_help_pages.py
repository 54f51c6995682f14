"""Help as people see it: nothing vanishes at any width, every default is shown, and every example can be typed."""

from __future__ import annotations

import os
import pty
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from taemi_edge.cli.help_pages import choices_of, is_argument, shown_default
from taemi_edge.cli.help_texts import EXAMPLES, GLOSSARY, GROUPS, OPTION_GROUPS, PAGES
from taemi_edge.cli.main import COMMANDS, app
from taemi_edge.pages import page

WIDTHS = (60, 80, 120)
#: Options of commands with more than so many stand in groups.
MOST_OPTIONS = 12
LINES = re.compile("[\u2500-\u257f]")


@pytest.fixture(scope="module")
def group() -> Any:
    return typer.main.get_command(app)


def _context(command: Any, name: str) -> Any:
    return command.make_context(name, [], resilient_parsing=True)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _columns(shown: str) -> str:
    """What a page shows, one column after the other: names and texts that go on in the next line are whole again."""
    found = []
    for panel in re.split("\u256d.*\u256e", shown):
        inside, _, after = panel.partition("\u2570")
        lines = [LINES.sub(" ", line) for line in inside.splitlines() if "\u2502" in line]
        edge = _edge(lines)
        found += ["".join(line[:edge] for line in lines), "".join(line[edge:] for line in lines), after]
        found.append("" if lines else inside)
    return _squeezed("".join(found))


def _edge(lines: list[str]) -> int:
    """Where the column of texts begins: the first place that all lines leave two blanks before."""
    longest = max(map(len, lines), default=0)
    padded = [line.ljust(longest) for line in lines]
    for place in range(4, longest):
        if all(line[place - 2 : place] == "  " for line in padded) and any(line[place] != " " for line in padded):
            return place
    return 0


def _wanted(command: Any, name: str) -> list[str]:
    ctx = _context(command, name)
    texts = (command.help or "").split("\n\n")
    for parameter in command.get_params(ctx):
        texts += [parameter.help or "", *parameter.secondary_opts, *([] if is_argument(parameter) else parameter.opts)]
        texts += [parameter.metavar or "", "|".join(choices_of(parameter))]
        texts.append(f"[default: {default}]" if (default := shown_default(parameter, ctx)) else "")
    for example in EXAMPLES[name]:
        texts += [example.does, example.words]
    return [*texts, page(PAGES[name]), page(GLOSSARY)]


@pytest.mark.once
@pytest.mark.parametrize(
    ("width", "kind"),
    [
        *((width, "piped") for width in WIDTHS),
        (60, "terminal"),
        *(pytest.param(width, "terminal", marks=pytest.mark.nightly) for width in WIDTHS[1:]),
    ],
)
def test_nothing_vanishes_from_any_page(cli_here, monkeypatch, group, width: int, kind: str):
    monkeypatch.setenv("COLUMNS", str(width))
    if kind == "terminal":
        monkeypatch.setenv("FORCE_COLOR", "1")
    missing = []
    for name in COMMANDS:
        shown = re.sub(r"\x1b\[[0-9;]*m", "", cli_here(name, "--help").stdout)
        lines = [line for line in shown.splitlines() if not line.startswith("   taemi-edge") and "://" not in line]
        assert max(map(len, lines)) <= width
        assert "\u2026" not in shown
        found = _columns(shown)
        wanted = [word for text in _wanted(group.commands[name], name) if (word := _squeezed(text).strip("[]"))]
        missing += [(name, word) for word in wanted if word not in found]
    assert missing == []


@pytest.mark.once
def test_a_real_terminal_shows_the_same(tmp_path: Path):
    import fcntl
    import termios

    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    running = subprocess.Popen(
        [sys.executable, "-m", "taemi_edge", "sweep", "--help"], stdout=writer, env=environment | {"TERM": "xterm"}
    )
    os.close(writer)
    shown = b""
    try:
        while chunk := os.read(reader, 4096):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    finally:
        running.wait(60)
        os.close(reader)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert "[default:runs/sweep-<recipe>]" in _columns(text)
    assert max(len(line) for line in text.splitlines() if "taemi-edge" not in line) <= 60


@pytest.mark.once
def test_every_default_is_shown(group):
    """A default of Python is shown by the page, and one that code chooses later is written in the text."""
    for name, command in group.commands.items():
        for parameter in command.params:
            default = parameter.get_default(_context(command, name), call=False)
            if default is None or default is False or parameter.required:
                continue
            shown = shown_default(parameter, _context(command, name)) or "[default: " in parameter.help
            assert shown, (name, parameter.opts)


def test_every_command_stands_in_the_tables():
    assert [name for names in GROUPS.values() for name in names] == list(COMMANDS)
    assert set(PAGES) == set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_commands_with_many_stand_in_groups(group, name: str):
    options = [parameter.opts[0] for parameter in group.commands[name].params if not is_argument(parameter)]
    grouped = [flag for flags in OPTION_GROUPS.get(name, {}).values() for flag in flags]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= {*options, "--cut", "--workers", "--ray", "--device", "--threads"}
    if len(options) > MOST_OPTIONS:
        assert set(options) <= set(grouped)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_can_be_typed(group, name: str):
    assert 1 <= len(EXAMPLES[name]) <= 3
    for example in EXAMPLES[name]:
        program, command, *words = shlex.split(example.words)
        assert program == "taemi-edge"
        assert command == name or command in COMMANDS
        assert example.does[0].isupper()
        assert example.does.endswith(".")
        group.commands[command].make_context(command, words)  # raises what the command line would refuse


@pytest.mark.once
def test_examples_that_are_cheap_run(cli_here, tmp_path: Path):
    pytest.importorskip("cryptography")
    for name in ("init-model", "keygen", "inspect", "parity", "export-triton"):
        words = shlex.split(EXAMPLES[name][0].words)[1:]
        done = cli_here(*words, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
