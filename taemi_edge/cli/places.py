"""Where a command writes: nothing that it reads, nothing twice, and nothing that another command is writing.

This is checked for every command before it does any work, by the names of its options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from taemi_edge.bundle.atomic import claimed, is_a_place
from taemi_edge.cli.options import kept_until_the_end
from taemi_edge.errors import UsageError

#: The options of all commands that name a file or folder to write.
OUTPUTS = frozenset(
    (
        *("--output", "--json", "--plot", "--annotate", "--events", "--record", "--foxglove-layout", "--store"),
        *("--run", "--tensorboard"),
    )
)
_MANIFEST = "manifest.json"
#: An address after `Path` has read it, and one of a bucket that was mistyped.
_ADDRESS = re.compile(r"(?:s3|gs|gcs|file|https?|ftp|hdfs|abfss?|oci|ssh|sftp):/", re.IGNORECASE)
_BUCKET_BY_A_SLASH = re.compile(r"(?:s3|gs|gcs):/(?!/)", re.IGNORECASE)


class PlacedCommand(TyperCommand):
    """A command that holds the places it writes to for as long as it runs."""

    def invoke(self, ctx: Any) -> Any:
        flags = {parameter.name: parameter.opts[0] for parameter in self.params}
        given = [(flags[name], value) for name, value in ctx.params.items() if name in flags]
        _refuse_addresses(given)
        outputs = {flag: Path(value) for flag, value in given if flag in OUTPUTS and _is_here(value)}
        with places_held(outputs, [value for flag, value in given if flag not in OUTPUTS]), kept_until_the_end():
            return super().invoke(ctx)


def _is_here(value: Any) -> bool:
    """Whether the value of an option names a file or folder of this machine; what lies elsewhere has a lock there."""
    return isinstance(value, str | Path) and "://" not in str(value)


def _refuse_addresses(given: Sequence[tuple[str, Any]]) -> None:
    """Refuse an address where only a path will do, which `Path` would read as a folder named after its scheme."""
    for flag, value in given:
        if flag in OUTPUTS and isinstance(value, Path) and _ADDRESS.match(str(value)):
            raise UsageError(
                f"{flag}: expected a file or folder of this machine, got an address: write here, then copy"
            )
        if isinstance(value, str) and _BUCKET_BY_A_SLASH.match(value):
            raise UsageError(f"{flag}: expected an address such as s3://BUCKET/FOLDER, got one with a single slash")


@contextmanager
def places_held(outputs: Mapping[str, Path], inputs: list[Any]) -> Iterator[None]:
    """Refuse outputs that cannot be meant, and keep other commands from writing them.

    Args:
        outputs: what is written, by the option that names it.
        inputs: values of all other options; those that name nothing on the disk are left alone.

    Raises:
        UsageError: an output is also an input, lies in a bundle that is read, or is named twice.
        OutputError: another process is writing one of them.
    """
    files = {flag: path for flag, path in outputs.items() if str(path) != "-" and is_a_place(path)}
    read = list(_paths_in(inputs))
    seen: dict[str, str] = {}
    for flag, path in files.items():
        for source in read:
            _refuse_what_is_read(flag, path, source)
        if (other := seen.setdefault(os.path.realpath(path), flag)) != flag:
            raise UsageError(f"{other} and {flag} both name {path}: expected a place for each")
    with claimed(*files.values()):
        yield


def _refuse_what_is_read(flag: str, path: Path, source: Path) -> None:
    if path.is_file() and source.is_file() and path.samefile(source):
        raise UsageError(f"{flag} {path}: expected another file than the ones that are read: name a new one")
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source))
    if inside and (source / _MANIFEST).is_file() and not (path.exists() and path.samefile(source)):
        raise UsageError(f"{flag} {path}: expected a place outside of the bundle {source}, whose files are all listed")


def _paths_in(values: Any) -> Iterator[Path]:
    """Every value that names something on the disk, alone, in a list, or as NAME=PLACE."""
    if isinstance(values, list | tuple):
        for value in values:
            yield from _paths_in(value)
    elif isinstance(values, str | Path):
        text = str(values)
        for place in {text, text.partition("=")[2]} - {""}:
            try:
                if os.path.exists(place):
                    yield Path(place)
            except ValueError:  # a null character
                continue
