"""The command line `taemi-edge`: its commands in the order of `--help`, and the exit code of each kind of error.

A command parses its words, calls one function and prints one result. Modules of commands import nothing heavy at
their top, so that `taemi-edge --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taemi_edge import __version__
from taemi_edge.cli import completion
from taemi_edge.cli.bench import bench
from taemi_edge.cli.calibrate import calibrate
from taemi_edge.cli.corpora import extract, synth
from taemi_edge.cli.ending import exit_code_of, stops_as_errors
from taemi_edge.cli.engines import build_engine_command
from taemi_edge.cli.evaluate import evaluate
from taemi_edge.cli.export import export, init, init_model
from taemi_edge.cli.help_pages import print_command_help, print_group_help
from taemi_edge.cli.help_texts import GLOSSARY, GROUPS, PAGES
from taemi_edge.cli.inspection import inspect
from taemi_edge.cli.machine import demo, doctor
from taemi_edge.cli.parity import parity
from taemi_edge.cli.places import PlacedCommand
from taemi_edge.cli.registry import pull, push
from taemi_edge.cli.replay import replay
from taemi_edge.cli.run import run
from taemi_edge.cli.signing import keygen, sign, verify
from taemi_edge.cli.sweep import sweep
from taemi_edge.cli.train import ablate, train
from taemi_edge.cli.triton import export_triton
from taemi_edge.cli.triton_probe import triton_probe
from taemi_edge.cli.typed_addresses import typed_addresses_hidden
from taemi_edge.cli.unforeseen import nothing_ends_the_program
from taemi_edge.cli.update import update
from taemi_edge.cli.wrong_use import wrong_use_as_errors
from taemi_edge.pages import page

#: Every command by its name, in the order in which `--help` lists them: that of `GROUPS`.
COMMANDS: dict[str, Callable[..., None]] = {
    "init-model": init_model,
    "init": init,
    "train": train,
    "evaluate": evaluate,
    "ablate": ablate,
    "sweep": sweep,
    "synth": synth,
    "extract": extract,
    "export": export,
    "calibrate": calibrate,
    "build-engine": build_engine_command,
    "parity": parity,
    "bench": bench,
    "run": run,
    "replay": replay,
    "demo": demo,
    "update": update,
    "export-triton": export_triton,
    "triton-probe": triton_probe,
    "inspect": inspect,
    "doctor": doctor,
    "keygen": keygen,
    "sign": sign,
    "verify": verify,
    "push": push,
    "pull": pull,
}


class ShellChoice(str, Enum):
    """The shells that have a completion."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


class _Group(TyperGroup):
    """Turns Ctrl-C, SIGTERM and what Typer says of wrong words into errors of this package.

    Typer would end the program itself, without a message or with a box of lines. What it says of wrong words repeats no
    address with its password.
    """

    def main(self, *words: Any, **named: Any) -> Any:
        completion.prepare()
        return super().main(*words, **{**named, "prog_name": "taemi-edge"})

    def make_context(self, *words: Any, **named: Any) -> Any:
        with stops_as_errors(), wrong_use_as_errors(), typed_addresses_hidden():
            return super().make_context(*words, **named)

    def invoke(self, ctx: Any) -> Any:
        with stops_as_errors(), nothing_ends_the_program(), wrong_use_as_errors(), typed_addresses_hidden():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        print_group_help(self, ctx)


class _Command(PlacedCommand):
    """A command with a help page of this package, on which nothing in square brackets vanishes."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        for parameter in self.params:
            completion.complete(parameter)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        print_command_help(self, ctx)

    def invoke(self, ctx: Any) -> Any:
        from taemi_edge.cli.named_bundles import with_folders

        ctx.params = with_folders(str(self.name), self.params, ctx.params)
        return super().invoke(ctx)


app = typer.Typer(
    name="taemi-edge",
    cls=_Group,
    help="From a trained multimodal model to verified engines on live video, with streams that may drop out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _group, _names in GROUPS.items():
    for _name in _names:
        _links = f"{page(PAGES[_name])} explains more, and {page(GLOSSARY)} the words."
        app.command(name=_name, cls=_Command, rich_help_panel=_group, epilog=_links)(COMMANDS[_name])


def main() -> None:
    """Run the command line and end the process.

    The exit code is 0 where all is done, 1 where a check failed, 2 for wrong use or bad input, 70 for a defect, 130
    after Ctrl-C and 143 after SIGTERM (`cli/ending.py`).
    """
    sys.exit(exit_code_of(app))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
    install_completion: Annotated[
        bool, typer.Option("--install-completion", help="Let the tab key complete words in your shell, and stop.")
    ] = False,
    show_completion: Annotated[
        bool, typer.Option("--show-completion", help="Print what --install-completion would write, and stop.")
    ] = False,
    shell: Annotated[
        ShellChoice | None, typer.Option("--shell", help="The shell to complete in  [default: the one that runs this]")
    ] = None,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if install_completion or show_completion:
        named = completion.shell_in_use() if shell is None else shell.value
        typer.echo(completion.install(named) if install_completion else completion.script(named), nl=install_completion)
        raise typer.Exit
