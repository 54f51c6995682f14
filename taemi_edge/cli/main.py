"""The command line `taemi-edge`: its commands in the order of `--help`, and the exit code of each kind of error.

A command parses its words, calls one function and prints one result. Modules of commands import nothing heavy at
their top, so that `taemi-edge --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taemi_edge import __version__
from taemi_edge.cli.bench import bench
from taemi_edge.cli.calibrate import calibrate
from taemi_edge.cli.corpora import extract, synth
from taemi_edge.cli.engines import build_engine_command
from taemi_edge.cli.evaluate import evaluate
from taemi_edge.cli.export import export, init, init_model
from taemi_edge.cli.machine import demo, doctor
from taemi_edge.cli.parity import inspect, parity
from taemi_edge.cli.run import run
from taemi_edge.cli.train import ablate, train
from taemi_edge.errors import InterruptedRunError, OptionError, TaemiError

#: Every command by its name, in the order in which `--help` lists them.
COMMANDS: dict[str, Callable[..., None]] = {
    "export": export,
    "init-model": init_model,
    "init": init,
    "calibrate": calibrate,
    "build-engine": build_engine_command,
    "parity": parity,
    "run": run,
    "bench": bench,
    "inspect": inspect,
    "synth": synth,
    "extract": extract,
    "train": train,
    "evaluate": evaluate,
    "ablate": ablate,
    "doctor": doctor,
    "demo": demo,
}


class _Group(TyperGroup):
    """Turns Ctrl-C into an error of this package, before Typer ends the program without a message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedRunError("interrupted: what was written so far is whole") from error


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
    app.command(name=_name)(_command)


def main() -> None:
    """Run the command line.

    It ends with exit code 0 where all is done, 1 where a check failed, 2 for wrong use or bad input, and 130 after
    Ctrl-C.
    """
    try:
        app()
    except TaemiError as error:
        said = error.flagged if isinstance(error, OptionError) else error
        typer.echo(f"taemi-edge: {said}", err=True)
        sys.exit(error.exit_code)
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        typer.echo(f"taemi-edge: not enough memory{detail}: ask for less, or use a larger machine", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # the reader of our output is gone: point stdout elsewhere so that the interpreter's flush stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = str(error.filename)
        typer.echo(
            f"taemi-edge: {name:.80}...: expected a name that a file can have, got {len(name)} letters", err=True
        )
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
