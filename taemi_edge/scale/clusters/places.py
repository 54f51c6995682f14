"""Places that all nodes of a cluster must see alike: the driver looks at a place, and every worker compares.

Of a folder that is only read, a few files stand for all: a node where a share is not mounted, or where another corpus
lies under the same name, differs in them. Into a folder that is written to, the driver writes a word for the nodes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

from taemi_edge.bundle.drafts import hold_draft, is_draft

#: How many entries of a folder, and of each of its folders, stand for it; files up to a size are compared whole.
_WITNESSES, _FOLDERS, _WHOLE_BYTES = 8, 8, 1 << 20


@dataclass(frozen=True)
class Witness:
    """A file that stands for the place that it lies in: its size, and the hash of a small one."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class ReadPlace:
    """A file or folder that workers read.

    Attributes:
        path: absolute.
        witnesses: what the driver found there.
    """

    path: str
    witnesses: tuple[Witness, ...]

    def problem(self, node: str) -> str | None:
        """Say what differs where this is called; None where nothing does."""
        if not os.path.exists(self.path):
            return f"node {node} has no {self.path}, which is here: mount the folder that holds it there, or copy it"
        for seen in self.witnesses:
            found = _witness(seen.path)
            if found is None:
                return f"node {node} sees another {self.path} than is here: it lacks {seen.path}: share one folder"
            if found != seen:
                return f"node {node} sees another {self.path} than is here: {seen.path} differs: share one folder"
        return None


@dataclass(frozen=True)
class WrittenPlace:
    """A folder that workers write to.

    Attributes:
        path: absolute.
        word_file: where the driver wrote a word for the nodes to read.
        word: that word.
    """

    path: str
    word_file: str
    word: str

    def problem(self, node: str) -> str | None:
        """Say why results could not be written where this is called; None where they can."""
        try:
            found = Path(self.word_file).read_text(encoding="utf-8")
        except OSError:
            found = ""
        if found != self.word:
            return f"node {node} does not see the {self.path} of this machine: name a place in a folder that both share"
        trial = Path(self.word_file).with_name(f"trial-{secrets.token_hex(4)}")
        try:
            trial.write_text(self.word, encoding="utf-8")
        except OSError as error:
            return f"node {node} cannot write to {self.path}: {error.strerror or error}: repair it there"
        finally:
            with suppress(OSError):
                trial.unlink(missing_ok=True)
        return None


Place = ReadPlace | WrittenPlace


def read_place(path: Path | str) -> ReadPlace:
    """Look at a place that workers will read. Paths are kept absolute; a file that is not here has no witnesses."""
    place = os.path.abspath(path)
    if not os.path.isdir(place):
        return ReadPlace(place, tuple(filter(None, [_witness(place)])))
    files, folders = _entries(place)
    for folder in folders:
        files += _entries(folder)[0]
    return ReadPlace(place, tuple(filter(None, map(_witness, files))))


@contextmanager
def written_place(path: Path | str) -> Iterator[WrittenPlace]:
    """Leave a word in a folder that workers will write to, or in its nearest parent; it is gone at the end.

    Raises:
        OSError: this process itself cannot write there.
    """
    place = Path(os.path.abspath(path))
    folder = next(parent for parent in (place, *place.parents) if parent.is_dir())
    with hold_draft(folder / "for-the-nodes") as draft:
        word = secrets.token_hex(16)
        draft.write_text(word, encoding="utf-8")
        yield WrittenPlace(str(place), str(draft), word)


@contextmanager
def looked_at(reads: Sequence[Path | str], writes: Sequence[Path | str]) -> Iterator[tuple[Place, ...]]:
    """Look at all places for a piece of work. What has a URI is no path, and what is not here no node can compare."""
    with ExitStack() as stack:
        read = [read_place(path) for path in dict.fromkeys(map(str, reads)) if _is_path(path) and os.path.exists(path)]
        written = [
            stack.enter_context(written_place(path)) for path in dict.fromkeys(map(str, writes)) if _is_path(path)
        ]
        yield (*read, *written)


def _is_path(place: str) -> bool:
    return "://" not in place


def _entries(folder: str) -> tuple[list[str], list[str]]:
    """A few files and a few folders of a folder, in the order in which the system lists them; drafts come and go."""
    with os.scandir(folder) as found:
        entries = [entry for entry in islice(found, 1000) if not is_draft(entry.name)]
    files = sorted((e for e in entries if e.is_file()), key=lambda entry: entry.stat().st_size)
    return [e.path for e in files[:_WITNESSES]], [e.path for e in entries if e.is_dir()][:_FOLDERS]


def _witness(path: str) -> Witness | None:
    try:
        size = os.path.getsize(path)
        digest = sha256(Path(path).read_bytes()).hexdigest() if size <= _WHOLE_BYTES else None
    except OSError:
        return None
    return Witness(path, size, digest)
