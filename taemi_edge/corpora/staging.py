"""Clips whose files lie elsewhere: each file is downloaded when the clip's reader first asks for it, and deleted when
the clip is read, on an error too.

So a machine holds the files of one clip for each of its workers, and of those only what the model reads: the second
sound of a video that has its own, a face folder that nobody asked for, and the columns of a table that belong to no
stream stay where they are.
"""

from __future__ import annotations

import atexit
import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from taemi_edge.bundle.atomic import scratch_folder
from taemi_edge.corpora.kept_recording import close_kept
from taemi_edge.corpora.remote_place import RemotePlace, checked_name
from taemi_edge.errors import InputError


@dataclass(frozen=True)
class RemoteFiles:
    """Says where the files of a clip are that lie elsewhere; it goes to the worker with the clip.

    Attributes:
        place: the folder of the corpus; the paths of a clip begin there.
        here: a folder of this machine that some of a clip's files lie in nevertheless, such as its transcripts.
    """

    place: RemotePlace
    here: Path | None = None

    def local(self, file: Path) -> Path:
        """A file of this machine. Only `at_hand` can tell how long it stays."""
        raise RuntimeError(f"{file}: at_hand comes first")


@dataclass(frozen=True)
class _Staged(RemoteFiles):
    """The files of a clip that is being read."""

    folder: Path = field(kw_only=True)

    def local(self, file: Path) -> Path:
        if self.here is not None and file.is_relative_to(self.here):
            return file
        name = checked_name(self.place, file.as_posix())
        there = self.folder / name
        return there if there.exists() else self.place.fetch(name, self.folder)

    def local_folder(self, folder: Path, ending: str) -> Path:
        """A folder of this machine with the files of a folder that end so."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for name in self.place.names(folder.as_posix()):
            if name.endswith(ending):
                self.local(folder / name)
        return self.folder / folder


class _HasFiles(Protocol):
    @property
    def files(self) -> RemoteFiles | None: ...


ClipT = TypeVar("ClipT", bound=_HasFiles)


@contextmanager
def at_hand(clip: ClipT) -> Iterator[ClipT]:
    """Give a clip whose files can be read on this machine for the block. One that lies here is given as it is.

    Raises:
        InputError: what the block raises names the place, and not where a file was downloaded to.
    """
    if clip.files is None or isinstance(clip.files, _Staged):
        yield clip
        return
    with scratch_folder() as folder:
        staged: Any = _Staged(clip.files.place, clip.files.here, folder=folder)
        try:
            yield dataclasses.replace(clip, files=staged)  # type: ignore[type-var]
        except InputError as error:
            raise type(error)(str(error).replace(str(folder), str(clip.files.place))) from error


def local_file(files: RemoteFiles | None, file: Path) -> Path:
    """A file of a clip as a file of this machine."""
    return file if files is None else files.local(file)


def local_recording(files: RemoteFiles | None, file: Path) -> Path:
    """A recording that feeds a clip, as a file or a folder of this machine.

    One that lies elsewhere is downloaded whole, and stays until this process needs another one: the clips of a drive
    follow each other. `drop_recordings` deletes it.
    """
    if files is None:
        return file
    wanted = files.place, file
    if wanted not in _recordings:
        drop_recordings()
        _recordings[wanted] = fetch_recording(files.place, file, _recording_folder.enter_context(scratch_folder()))
    return _recordings[wanted]


def fetch_recording(place: RemotePlace, file: Path, folder: Path) -> Path:
    """Download a recording into a folder: a file, or the files of a bag.

    Raises:
        StoreError: it is not there.
    """
    name = checked_name(place, file.as_posix())
    inside = [] if place.exists(name) else [found for found in place.names(name) if not found.endswith("/")]
    if not inside:
        return place.fetch(name, folder)
    for found in inside:
        place.fetch(f"{name}/{found}", folder)
    return folder / name


#: The one recording that is here, and its folder.
_recordings: dict[tuple[RemotePlace, Path], Path] = {}
_recording_folder = ExitStack()


@atexit.register
def drop_recordings() -> None:
    """Close the recording that was read last, and delete it where it was downloaded."""
    close_kept()
    _recordings.clear()
    _recording_folder.close()


def local_folder(files: RemoteFiles | None, folder: Path, ending: str) -> Path:
    """A folder of a clip as one of this machine, with those of its files that end so."""
    if files is None:
        return folder
    if not isinstance(files, _Staged):
        raise RuntimeError(f"{folder}: at_hand comes first")
    return files.local_folder(folder, ending)
