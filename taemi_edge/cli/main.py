"""The command line `taemi-edge`: its commands in the order of `--help`, and the exit code of each kind of error.

A command parses its words, calls one function and prints one result. Modules of commands import nothing heavy at
their top, so that `taemi-edge --help` answers at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from taemi_edge import __version__
from taemi_edge.cli.bench import bench
from taemi_edge.cli.calibrate import calibrate
from taemi_edge.cli.corpora import extract, synth
from taemi_edge.cli.ending import exit_code_of, stops_as_errors
from taemi_edge.cli.engines import build_engine_command
from taemi_edge.cli.evaluate import evaluate
from taemi_edge.cli.export import export, init, init_model
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
from taemi_edge.cli.update import update

#: Every command by its name, in the order in which `--help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "export": export,
    "init-model": init_model,
    "init": init,
    "calibrate": calibrate,
    "build-engine": build_engine_command,
    "parity": parity,
    "run": run,
    "replay": replay,
    "bench": bench,
    "inspect": inspect,
    "keygen": keygen,
    "sign": sign,
    "verify": verify,
    "export-triton": export_triton,
    "push": push,
    "pull": pull,
    "update": update,
    "triton-probe": triton_probe,
    "synth": synth,
    "extract": extract,
    "train": train,
    "evaluate": evaluate,
    "ablate": ablate,
    "sweep": sweep,
    "doctor": doctor,
    "demo": demo,
}


class _Group(TyperGroup):
    """Turns Ctrl-C and SIGTERM into an error of this package, before Typer ends the program without a message.

    What Typer says of wrong words repeats no address with its password.
    """

    def make_context(self, *words: Any, **named: Any) -> Any:
        with stops_as_errors(), typed_addresses_hidden():
            return super().make_context(*words, **named)

    def invoke(self, ctx: Any) -> Any:
        with stops_as_errors(), typed_addresses_hidden():
            return super().invoke(ctx)


class _Command(PlacedCommand):
    """A command whose `--help` shows what stands in square brackets: Typer would take "[default: all]" for a style."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument | TyperOption) and parameter.help:
                parameter.help = re.sub(r"\[(?=[a-z])", r"\\[", parameter.help)

    def invoke(self, ctx: Any) -> Any:
        from taemi_edge.cli.named_bundles import with_folders

        ctx.params = with_folders(self.params, ctx.params)
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
for _name, _command in COMMANDS.items():
    app.command(name=_name, cls=_Command)(_command)


def main() -> None:
    """Run the command line and end the process.

    The exit code is 0 where all is done, 1 where a check failed, 2 for wrong use or bad input, 130 after Ctrl-C and 143
    after SIGTERM (`cli/ending.py`).
    """
    sys.exit(exit_code_of(app))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
