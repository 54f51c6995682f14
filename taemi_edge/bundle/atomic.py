"""Folders and files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from taemi_edge.errors import OutputError

_DRAFT = ".draft-"


@contextmanager
def new_folder(target: Path, replaceable: Collection[str]) -> Iterator[Path]:
    """Give a draft folder; at the end it takes the place of `target`, on an error or Ctrl-C it goes away.

    Args:
        replaceable: the file names of what is written; a folder that holds anything else is never replaced.

    Raises:
        OutputError: no room, no permission, or `target` is something else.
    """
    _refuse_foreign(target, replaceable)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{_DRAFT}{target.name}-", dir=target.parent))
    except OSError as error:
        raise write_error(target, error) from error
    try:
        draft.chmod(0o755)
        yield draft
        _replace(draft, target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a draft path with the same ending; at the end it takes the place of `target`, on an error it goes away.

    Raises:
        OutputError: no room or no permission.
    """
    draft = target.with_name(f"{_DRAFT}{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        os.replace(draft, target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        draft.unlink(missing_ok=True)


def require_another_place(source: Path, target: Path) -> None:
    """Refuse to write over what is being read.

    Raises:
        OutputError: both are the same folder.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: expected another folder than the one that is read: name a new one with --output")


def write_error(target: Path, error: OSError) -> OutputError:
    """One sentence for a failed write."""
    if error.errno == errno.ENOSPC:
        return OutputError(f"{target}: no space left on the device: free some, or write elsewhere")
    return OutputError(f"{target}: cannot be written: {error.strerror or error}")


def _refuse_foreign(target: Path, replaceable: Collection[str]) -> None:
    if target.is_file():
        raise OutputError(f"{target}: expected a folder to write, got a file: name another place")
    foreign = sorted({entry.name for entry in target.iterdir()} - set(replaceable)) if target.is_dir() else []
    if foreign:
        raise OutputError(f"{target} holds other files ({foreign[0]}) and is not replaced: name a new or empty folder")


def _replace(draft: Path, target: Path) -> None:
    """Rename the draft into place; an older folder steps aside first and is removed last."""
    if not target.exists():
        draft.rename(target)
        return
    aside = draft.with_name(draft.name + "-old")
    target.rename(aside)
    draft.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
