"""What the commands share: options that several of them have, and helpers for what they are given and what they write.

This module imports nothing heavy, because `taemi-edge --help` imports it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taemi_edge.cli.typed_addresses import without_addresses
from taemi_edge.errors import MissingExtraError, UsageError, in_one_line

if TYPE_CHECKING:
    from taemi_edge.bundle.folder import Bundle
    from taemi_edge.bundle.workers import WorkerPool


#: Of sources, and of inputs of one batch: beyond it a computer has no memory for what they bring.
_MOST_AT_ONCE = 10_000
#: Python reads no whole number of thousands of digits.
_MOST_DIGITS = 40
#: What the running command has opened for all of its work.
_kept: list[ExitStack] = []


class DeviceChoice(str, Enum):
    """Where parts run."""

    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


class QuantiserChoice(str, Enum):
    """The program that puts Q/DQ pairs into a graph."""

    own = "own"
    modelopt = "modelopt"


class FacesChoice(str, Enum):
    """Where faces come from."""

    detect = "detect"
    provided = "provided"


class SplitChoice(str, Enum):
    """A share of a corpus."""

    train = "train"
    valid = "valid"
    test = "test"


#: The speech recogniser that `--asr` takes by default. The weights come with an extra.
ASR_MODEL = "packaged:whisper-base"

BundleArgument = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE", help="A bundle's folder, or its name: of one made here, or taemi-nano, which ships."
    ),
]
RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or TOML file.")]
CorpusOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DIR|URI",
        help="A corpus, a table or .npz files of samples, or recordings (.mcap, .bag); also s3://bucket/folder, "
        "gs:// or file:///.",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="The checkpoint to write  [default: checkpoints/<model>]"),
]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option("--device", help="Where to run; cuda needs onnxruntime-gpu  [default: what a bundle was built for]"),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 takes as many as there are cores.")]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on a Ray cluster: auto (that of this machine), local (a new one), host:port or ray://host:port. "
        "--workers then counts its workers; 0 takes as many as the cluster has CPUs.",
    ),
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="Threads for each part; 0 takes all cores.")]
PlannedThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=0,
        help="Threads for each part, the parts one after the other; 0 takes all cores  [default: as measured when the "
        "engines were built, else all cores]",
    ),
]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="F.json", help="Also write the result as JSON.")]
AsrModelOption = Annotated[
    str, typer.Option("--asr-model", help="A CTranslate2 folder, or a size that faster-whisper fetches.")
]


RequireSignatureOption = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        metavar="K.pub",
        help="Refuse a bundle that the holder of this key did not sign  [default: the key that this device trusts]",
    ),
]


def chosen_workers(workers: int, ray: str | None, device: str | None = None) -> int | WorkerPool:
    """Give what works: processes of this machine, or with `--ray` the workers of a cluster until the command ends.

    Args:
        workers: the value of `--workers`.
        ray: the value of `--ray`.
        device: where the workers compute; on a GPU each of them needs one.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: that is no address.
    """
    if ray is None:
        return workers
    from taemi_edge.scale.ray_workers import RayWorkers

    pool = RayWorkers(ray, workers, gpus=1.0 if device in ("cuda", "tensorrt") else 0.0)
    return _kept[-1].enter_context(pool) if _kept else pool


@contextmanager
def kept_until_the_end() -> Iterator[None]:
    """Close at the end of a command what it has opened for all of its work, such as a connection to a cluster."""
    with ExitStack() as stack:
        _kept.append(stack)
        try:
            yield
        finally:
            _kept.remove(stack)


def device_name(choice: DeviceChoice | None) -> Any:
    """The name of the device that was given; None leaves the choice to the bundle."""
    return None if choice is None else choice.value


def key_and_value(text: str, option: str, shape: str) -> tuple[str, str]:
    """Split the value of an option such as `--set KEY=VALUE`.

    Args:
        text: what was given, such as "window.hop_s=1".
        option: the option's name, for the message.
        shape: what is expected, for the message, such as "KEY=VALUE".

    Raises:
        UsageError: `text` has no key, no equals sign or no value.

    Example:
        >>> key_and_value("window.hop_s=1", "--set", "KEY=VALUE")
        ('window.hop_s', '1')
    """
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise UsageError(f"{option} {text}: expected {shape}")
    return key, value


def recipe_changes(override: Sequence[str] | None, shortcuts: Mapping[str, int | None] | None = None) -> dict[str, str]:
    """The changes to a recipe that `--set` and its shortcuts ask for.

    Args:
        override: the values of `--set`, each "KEY=VALUE".
        shortcuts: keys of the recipe with the values of options that are short for `--set`; None where the option
            was not given. They win over `--set`.

    Raises:
        UsageError: a value of `--set` is not "KEY=VALUE".

    Example:
        >>> recipe_changes(["fusion.kind=concat"], {"seed": 3, "training.epochs": None})
        {'fusion.kind': 'concat', 'seed': '3'}
    """
    changes = dict(key_and_value(text, "--set", "KEY=VALUE") for text in override or ())
    return changes | {key: str(value) for key, value in (shortcuts or {}).items() if value is not None}


def whole_number(text: str, option: str) -> int:
    """Read a number of at least 1, and of no more than any device could hold at once.

    Raises:
        UsageError: `text` is something else; the message names the option.

    Example:
        >>> whole_number("4", "--batch")
        4
    """
    digits = text.strip()
    if not digits.isdecimal() or not digits.strip("0"):
        raise UsageError(f"{option}: expected a number of at least 1, got {text!r}")
    number = int(digits[:_MOST_DIGITS])
    if len(digits) > _MOST_DIGITS or number > _MOST_AT_ONCE:
        raise UsageError(f"{option}: expected a number of at most {_MOST_AT_ONCE}, got {text[:_MOST_DIGITS]!r}")
    return number


def command_line() -> str:
    """The command as it was typed, for reports that say how they were made."""
    return without_addresses(shlex.join(["taemi-edge", *sys.argv[1:]]), sys.argv[1:])


def save_json(file: Path | None, value: Any) -> None:
    """Write a result as JSON where the user named a file with `--json`; do nothing where not."""
    if file is None:
        return
    from taemi_edge.bundle.json_files import write_json

    write_json(file, value)


def note_training(bundle: Bundle) -> None:
    """Warn where a bundle's outputs do not come from a model that was trained on real data."""
    manifest = bundle.manifest
    if not manifest.trained:
        note(
            "the bundle names nothing that its head was trained on: its outputs show that every step works, and no more"
        )
    elif manifest.synthetic:
        note(f"the head was trained on {manifest.trained_on}: on real data its outputs mean nothing")


def note(text: str) -> None:
    """Write a remark on standard error."""
    typer.echo(f"note: {in_one_line(text)}", err=True)


def named_metric(metric: str | None) -> str | Callable[..., Any] | None:
    """The metric of `--metric`: a name as it is; of `file.py:function` or `package.module:function` the function.

    Raises:
        ContractError: there is no such function, or the code raises while it is imported.
    """
    if metric is None or ":" not in metric:
        return metric
    from taemi_edge.export.user_code import load_function

    return load_function(metric)


@contextmanager
def extra_needed(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import inside the `with` block into a message that names the extra to install.

    Args:
        extra: the extra of this package, such as "export".
        purpose: what needs it, such as "taemi-edge export".

    Raises:
        MissingExtraError: a module of another package is missing.

    Example:
        >>> with extra_needed("export", "this example"):
        ...     import a_module_that_nobody_has
        Traceback (most recent call last):
            ...
        taemi_edge.errors.MissingExtraError: ...
    """
    try:
        yield
    except ImportError as error:  # a package that is not there, or one that is there and broken
        if error.name and error.name.startswith("taemi_edge"):
            raise
        raise MissingExtraError(error.name or str(error), extra, purpose) from error
