"""Writing folders and files so that nobody ever sees a half-written one.

A draft is written beside the place where it belongs and renamed at the end. On an error, on a full disk and on Ctrl-C
the draft is removed, and what was there before stays.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taemi_edge.errors import OutputError

_DRAFT = ".draft-"


@contextmanager
def new_folder(target: Path, replaceable: Collection[str]) -> Iterator[Path]:
    """Give a draft folder that takes the place of `target` at the end; on an error or Ctrl-C it is removed.

    Args:
        target: the folder to write; its parent folders are made where they are missing.
        replaceable: the names of the files that are written. A folder that holds any other file is never replaced.

    Raises:
        OutputError: there is no room or no permission, or `target` is a file or holds other files.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_folder(Path(folder, "out"), ["a.txt"]) as draft:
        ...         _ = (draft / "a.txt").write_text("whole")
        ...     Path(folder, "out", "a.txt").read_text()
        'whole'
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
    except OutputError as error:
        if isinstance(error.__cause__, OSError) and str(draft) in str(error):
            raise write_error(target, error.__cause__) from error  # people know the target, not the draft
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a draft path with the ending of `target`; the draft takes the target's place at the end.

    On an error the draft is removed and an older `target` stays.

    Raises:
        OutputError: there is no room or no permission.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_file(Path(folder, "a.txt")) as draft:
        ...         _ = draft.write_text("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    draft = target.with_name(f"{_DRAFT}{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        os.replace(draft, target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with suppress(OSError):  # where no draft could be made, none is left
            draft.unlink(missing_ok=True)


def require_another_place(source: Path, target: Path) -> None:
    """Refuse to write a folder over the one that is read.

    Raises:
        OutputError: `source` and `target` are the same folder.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: expected another folder than the one that is read: name a new one with --output")


def write_error(target: Path, error: OSError) -> OutputError:
    """Turn the system's error into one sentence about what could not be written.

    >>> str(write_error(Path("out"), OSError(errno.ENOSPC, "")))
    'out: no space left on the device: free some, or write elsewhere'
    """
    if error.errno == errno.ENOSPC:
        return OutputError(f"{target}: no space left on the device: free some, or write elsewhere")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(f"{target}: cannot be written: a file stands where its folder should be: name another place")
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
