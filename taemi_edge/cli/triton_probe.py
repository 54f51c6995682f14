"""The command `triton-probe`: does a model on a Triton server still give predictions?"""

from __future__ import annotations

from typing import Annotated

import typer

_AddressArgument = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="The server's HTTP address: http://localhost:8000", show_default=False)
]
_ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model's name in the repository.", show_default=False)
]
_TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="How long an answer may take, in seconds.")
]


def triton_probe(address: _AddressArgument, model: _ModelArgument, timeout: _TimeoutOption = 5.0) -> None:
    """Ask a model on a Triton server for a prediction; exit 0 where it gives one, or answers others meanwhile.

    For a liveness probe of Kubernetes: a server whose model has died still says of itself that it is ready.
    """
    from taemi_edge.scale.triton.probe import probe_model

    typer.echo(f"{model}: {probe_model(address, model, timeout)}")
