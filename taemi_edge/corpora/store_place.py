"""Where a feature store lies: a folder of this machine or of a shared file system, or a bucket elsewhere.

A store knows its files by names such as `index.json` and `pending/clip-7.safetensors`: the parts of a name are
separated by a slash, and no name begins with a slash or has a part `..`. Nobody ever sees a half-written file.
Places are pickled and sent to workers.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taemi_edge.bundle.atomic import give_usual_mode, new_file, write_error
from taemi_edge.bundle.drafts import hold_draft, is_draft, sweep
from taemi_edge.corpora.remote_address import parse_place
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.errors import StoreError


class StorePlace(Protocol):
    """What a feature store needs of the place where it lies. `str(place)` is what messages call it."""

    def read(self, name: str) -> bytes:
        """Read a file whole.

        Raises:
            StoreError: there is no such file, or it cannot be read.
        """

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give a file of this machine with the content of `name`, which is read and never changed.

        A place elsewhere downloads it into a folder of its own, and deletes that at the end of the block.

        Raises:
            StoreError: there is no such file, or it cannot be read.
        """

    def draft(self, name: str) -> AbstractContextManager[Path]:
        """Give the path of a file to write, which becomes `name` at the end of the block: whole, or not at all.

        What was there before is replaced. On an error the draft is deleted, and what was there before stays.

        Raises:
            OutputError: it cannot be written, because there is no room or no permission.
        """

    def write(self, name: str, data: bytes) -> None:
        """Write a file: whole, or not at all.

        Raises:
            OutputError: it cannot be written, because there is no room or no permission.
        """

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where there is none of that name, and give whether it was written.

        Of two that create the same name at the same time, one is told that it was written.

        Raises:
            OutputError: it cannot be written, because there is no room or no permission.
        """

    def names(self, folder: str = "") -> list[str]:
        """The names of what lies directly in a folder, in order; folders have a slash at their end.

        Drafts are left out. A folder that is not there has no names.
        """

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def delete(self, name: str) -> None:
        """Delete a file, or a folder that is empty; nothing happens where there is none, or it holds something."""

    def clean_up(self, folder: str = "", nobody_writes: bool = False) -> None:
        """Delete drafts that killed processes left in a folder.

        Args:
            folder: where to look, and not below it.
            nobody_writes: the caller knows that no other process writes there, on any machine: every draft goes.
                Without it a draft stays where a living process may have made it.
        """


@dataclass(frozen=True)
class LocalPlace:
    """A store in a folder of this machine or of a file system that several machines share."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, name: str) -> bytes:
        with self.local(name) as file:
            try:
                return file.read_bytes()
            except OSError as error:
                raise StoreError(f"{self}: {name} cannot be read: {error.strerror or error}") from error

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        file = self.folder / name
        if not file.is_file():
            raise StoreError(f"{self}: {name} is missing: copy the store anew, or extract it again")
        yield file

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        with new_file(self.folder / name) as draft:
            yield draft
            give_usual_mode(draft)

    def write(self, name: str, data: bytes) -> None:
        with self.draft(name) as draft:
            draft.write_bytes(data)

    def create(self, name: str, data: bytes) -> bool:
        target = self.folder / name
        try:
            place = Path(os.path.realpath(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            with hold_draft(place) as draft:
                draft.write_bytes(data)
                give_usual_mode(draft)
                return _linked(draft, place)
        except OSError as error:
            raise write_error(target, error) from error

    def names(self, folder: str = "") -> list[str]:
        try:
            with os.scandir(self.folder / folder) as entries:
                found = [entry.name + ("/" if entry.is_dir() else "") for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"{self}: cannot be read: {error.strerror or error}") from error
        return sorted(name for name in found if not is_draft(name.rstrip("/")))

    def exists(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def delete(self, name: str) -> None:
        place = self.folder / name
        try:
            if place.is_dir():
                place.rmdir()
            else:
                place.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise write_error(place, error) from error

    def clean_up(self, folder: str = "", nobody_writes: bool = False) -> None:
        sweep(self.folder / folder, again=True, nobody_writes=nobody_writes)


def _linked(draft: Path, place: Path) -> bool:
    """Give a draft a second name in one step; False where something has that name."""
    try:
        try:
            os.link(draft, place)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            with place.open("xb") as file:  # a file system without hard links, such as exFAT and some of FUSE
                file.write(draft.read_bytes())
    except FileExistsError:
        return False
    return True


def open_place(where: Path | str) -> StorePlace:
    """Give the place that a path or a URI names.

    Args:
        where: a folder, which may be new, or a URI such as "s3://bucket/store".

    Raises:
        UsageError: the URI is of a kind that is not known, or has options that are not.
        PlaceError: the bucket cannot be reached, is not there, or may not be listed.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> str(open_place("runs/store"))
        'runs/store'
    """
    place = parse_place(where)
    return LocalPlace(place) if isinstance(place, Path) else RemotePlace(place).require()
