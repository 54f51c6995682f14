"""What lies in the folder of a corpus, wherever that is: the one thing that readers of any form of corpus look at.

A folder elsewhere is listed once, and a label file or table of it is downloaded while it is read. Media are not touched
here: each clip knows the names of its files, and the worker that reads the clip fetches them (`corpora/staging.py`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.staging import RemoteFiles
from taemi_edge.corpora.store_place import LocalPlace, StorePlace


class CorpusFolder:
    """The names of a corpus's files, and its small files.

    Args:
        where: a folder of this machine, which may be none, or one elsewhere.

    Example:
        >>> folder = CorpusFolder(Path("nowhere"))
        >>> folder.has_file("train_split.csv"), folder.shown("train_split.csv")
        (False, 'nowhere/train_split.csv')
    """

    def __init__(self, where: Path | str | RemotePlace) -> None:
        self.where: Path | RemotePlace = where if isinstance(where, RemotePlace) else Path(where)
        self._names: dict[str, frozenset[str]] = {}

    @property
    def place(self) -> StorePlace:
        """The folder as a place to read from."""
        return place_of(self.where)

    @property
    def files(self) -> RemoteFiles | None:
        """What a clip needs to fetch its files; None where they lie on this machine."""
        return RemoteFiles(self.where) if isinstance(self.where, RemotePlace) else None

    def shown(self, name: str) -> str:
        """What messages call a file."""
        return f"{self.where}/{name}"

    def file(self, name: str) -> Path:
        """How a clip names a file: by its path on this machine, or from the folder on where that lies elsewhere."""
        return Path(name) if isinstance(self.where, RemotePlace) else self.where / name

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give a file of this machine with the content of a file, for the block.

        Raises:
            StoreError: it is not there.
        """
        return self.place.local(name)

    def names(self, folder: str = "") -> frozenset[str]:
        """What lies directly in a folder; folders have a slash at their end. Listed once."""
        if folder not in self._names:
            self._names[folder] = frozenset(self.place.names(folder))
        return self._names[folder]

    def endings(self, folder: str, ending: str) -> list[str]:
        """The names of the files in a folder that end so, in order; the folder stands before each."""
        before = f"{folder}/" if folder else ""
        return sorted(before + name for name in self.names(folder) if name.endswith(ending))

    def stems(self, folder: str) -> set[str]:
        """The names in a folder without what stands behind their last dot."""
        return {PurePosixPath(name).stem for name in self.names(folder)}

    def has_file(self, name: str) -> bool:
        """Whether there is a file of that name."""
        folder, _, last = name.rpartition("/")
        return last in self.names(folder)

    def has_folder(self, name: str) -> bool:
        """Whether there is a folder of that name."""
        folder, _, last = name.rpartition("/")
        return f"{last}/" in self.names(folder)

    def has_files_in(self, folder: str, ending: str) -> bool:
        """Whether a folder has a file that ends so; of one elsewhere, whether it has any file, since it is not listed.

        There may be a folder for each clip.
        """
        if isinstance(self.where, RemotePlace):
            return self.has_folder(folder)
        return any((self.where / folder).glob(f"*{ending}"))


def place_of(where: Path | RemotePlace) -> StorePlace:
    """A folder as a place to read from."""
    return where if isinstance(where, RemotePlace) else LocalPlace(where)
