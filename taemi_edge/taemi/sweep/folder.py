"""The folder of a sweep: what it was made of, and which runs are done.

DIR/
  sweep.json        SweepRecord: the recipe and the data; a sweep of others is refused
  runs/             a folder for each setting, and in it one for each seed (`taemi_edge.taemi.sweep.runs`)
  stores/           features, where the data was a corpus
  best              a link to the checkpoint that is best on the validation split
  results.json      Sweep: every figure
  table.md          the same to read
  picture.png       the same to look at
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.drafts import is_draft
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import InputError, OutputError, UsageError
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.sweep.runs import RUN

RECORD, RUNS, STORES = "sweep.json", "runs", "stores"
BEST, RESULTS, TABLE, PICTURE = "best", "results.json", "table.md", "picture.png"
SWEEP_SCHEMA = 1


class SweepRecord(Frozen, frozen=True):
    """The content of sweep.json.

    Attributes:
        schema: of this file.
        recipe: the whole recipe that settings change.
        data: where the data was.
        data_sha256: of a store's index, or of a corpus's labels.
    """

    schema: int
    recipe: dict[str, Any]
    data: str
    data_sha256: str


def begin_folder(folder: Path, recipe: ModelRecipe, data: str, data_sha256: str) -> None:
    """Make a sweep's folder, or go on with one that was made of the same recipe and data.

    Raises:
        OutputError: something else lies there.
        UsageError: it is a sweep of another recipe or of other data.
        InputError: its record is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: expected a folder for the sweep, got a file: name another one with --output")
    file = folder / RECORD
    if not file.is_file():
        others = sorted(entry.name for entry in folder.iterdir() if not is_draft(entry.name)) if folder.is_dir() else []
        if others:
            raise OutputError(f"{folder} holds other files ({others[0]}) and no sweep: name a new or empty folder")
        write_json(file, SweepRecord(schema=SWEEP_SCHEMA, recipe=msgspec.to_builtins(recipe), data=data,
                                     data_sha256=data_sha256))  # fmt: skip
        return
    try:
        found = msgspec.json.decode(file.read_bytes(), type=SweepRecord)
        before = msgspec.convert(found.recipe, ModelRecipe)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{file}: expected the record of a sweep, got {error}: name another folder") from error
    if found.schema != SWEEP_SCHEMA:
        raise InputError(f"{file}: expected schema {SWEEP_SCHEMA}, got {found.schema}: name another folder")
    if before != recipe:
        key = next(_different(msgspec.to_builtins(before), msgspec.to_builtins(recipe)))
        raise UsageError(
            f"{folder} holds a sweep of another recipe (it differs in {key}): name another folder with --output, or "
            f"change the recipe by --set, which keeps runs apart"
        )
    if found.data_sha256 != data_sha256:
        raise UsageError(f"{folder} holds a sweep of other data ({found.data}): name another folder with --output")


def run_folder(folder: Path, setting: str, seed: int) -> Path:
    """Where a run is written."""
    return folder / RUNS / setting / f"seed-{seed}"


def count_runs(folder: Path) -> int:
    """How many runs in the folder of a sweep have a line."""
    return sum(1 for _ in (folder / RUNS).glob(f"*/*/{RUN}"))


def _different(one: Any, other: Any, under: str = "") -> Iterator[str]:
    """The keys in which two recipes differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from _different(one.get(key), other.get(key), f"{under}.{key}" if under else key)
    elif one != other:
        yield under
