"""What commands share: their common options, and how they show progress and notes; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taemi_edge.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from taemi_edge.bundle.folder import Bundle


class DeviceChoice(str, Enum):
    """Where parts run."""

    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


class PrecisionChoice(str, Enum):
    """What engines compute in."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class QuantiserChoice(str, Enum):
    """Who puts Q/DQ pairs into a graph."""

    own = "own"
    modelopt = "modelopt"


class FacesChoice(str, Enum):
    """Where faces come from."""

    detect = "detect"
    provided = "provided"


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle folder, made by `taemi-edge export`.")]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option("--device", help="Where to run; cuda needs onnxruntime-gpu  [default: what a bundle was built for]"),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 takes as many as there are cores.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="Threads for each part; 0 takes all cores.")]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="F.json", help="Also write the result as JSON.")]


def device_name(choice: DeviceChoice | None) -> Any:
    """The device that was named; None leaves it to the bundle."""
    return None if choice is None else choice.value


def key_and_value(text: str, option: str, shape: str) -> tuple[str, str]:
    """`a=b` as ("a", "b")."""
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise UsageError(f"{option} {text}: expected {shape}")
    return key, value


def whole_number(text: str, option: str) -> int:
    """A number of at least 1."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"{option}: expected a number of at least 1, got {text!r}")
    return int(text)


def note_training(bundle: Bundle) -> None:
    """Say what intensities are worth, where they are not those of a model trained on people."""
    manifest = bundle.manifest
    if not manifest.trained:
        note("the fusion head is untrained: its intensities show that the way works, not what a face feels")
    elif "synthetic" in manifest.trained_on:
        note(f"the fusion head was trained on {manifest.trained_on}: its intensities are not people's feelings")


def note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


@contextmanager
def extra_needed(extra: str, purpose: str) -> Iterator[None]:
    """Say which extra to install where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("taemi_edge"):
            raise
        raise MissingExtraError(str(error.name), extra, purpose) from error
