"""A place in a bucket: what `StorePlace` asks for, on S3 or Google Cloud Storage.

An object appears whole: a small one with the request that sends it, a large one when its last part is there. A place
can be pickled, and is given to workers on other machines. Credentials do not go with it: each machine has its own.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import uniform
from typing import Any

from taemi_edge.bundle.atomic import scratch_folder, write_error
from taemi_edge.corpora.remote_address import RemoteAddress, file_system_of
from taemi_edge.corpora.remote_errors import code_of, is_missing, place_error
from taemi_edge.errors import InputError, OutputError, PlaceError, StoreError, printable

_CHUNK = 8 << 20
#: What the client says where it cannot tell a server's error, and how long is waited before it is asked again.
_NO_ROOM_FOR_ERROR, _PAUSES_S = "Failed to flush response stream", (0.2, 0.8, 3.0)
#: A claim that is older was left behind by a killed process: a claim is held for two or three requests.
_CLAIM_S = 120.0
_CLAIMS = ".claims-"
_CLAIM_TRIES = 5
#: No part of the name of a file is longer, in bytes.
_LONGEST = 255
#: A name in no folder of people: asking for it tells whether the place can be listed at all.
_NOBODYS = ".taemi-edge-is-this-bucket-there"


@dataclass(frozen=True)
class RemotePlace:
    """A folder, or a file, of a bucket.

    Args:
        address: where it is.
    """

    address: RemoteAddress

    def __str__(self) -> str:
        return str(self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return printable(self.address.path.rpartition("/")[2] or self.address.bucket)

    @property
    def parent(self) -> RemotePlace:
        """The folder that it lies in."""
        return RemotePlace(replace(self.address, path=self.address.path.rpartition("/")[0]))

    def require(self) -> RemotePlace:
        """Give the place, once its bucket is known to be there and to be listed. A folder in it may be new.

        Raises:
            PlaceError: the server cannot be reached, has no such bucket, or refuses; the message says which.
        """
        self._probe("list")
        return self

    def is_file(self) -> bool:
        """Whether the address is that of a file."""
        return bool(self.address.path) and self._is_file(self._key(""))

    def is_dir(self) -> bool:
        """Whether anything lies below the address."""
        return bool(self.names())

    # ------------------------------------------------------------------------------------------------ as a StorePlace

    def read(self, name: str) -> bytes:
        """See `StorePlace`."""
        try:
            with self._opened(name) as source:
                return _read(source)
        except OSError as error:
            raise self._failed_to_read(name, error) from error

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `StorePlace`. Messages about the file name the place, and not where it was downloaded to."""
        with scratch_folder() as folder:
            try:
                yield self.fetch(name, folder)
            except InputError as error:
                raise type(error)(str(error).replace(str(folder), str(self))) from error

    def fetch(self, name: str, folder: Path) -> Path:
        """Download a file into a folder of this machine, under its own name.

        Raises:
            StoreError: there is no such file, or it alone cannot be read.
            PlaceError: nothing can be read from there any more.
            OutputError: there is no room in the folder.
        """
        target = folder / checked_name(self, name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as sink:
                self._download(name, sink, folder)
        except OSError as error:
            raise write_error(Path(tempfile.gettempdir()), error) from error
        return target

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """See `StorePlace`. The draft lies on this machine, and is sent at the end."""
        with scratch_folder() as folder:
            draft = folder / "draft" / name.rpartition("/")[2]
            draft.parent.mkdir()
            yield draft
            self._upload(draft, name)

    def write(self, name: str, data: bytes) -> None:
        """See `StorePlace`."""
        with self.draft(name) as draft:
            draft.write_bytes(data)

    def create(self, name: str, data: bytes) -> bool:
        """See `StorePlace`.

        pyarrow cannot ask a server to write only where nothing is. So whoever creates a file first writes a claim
        beside it, and goes on only if the listing that follows shows no other claim. Listings of S3 and of Google
        Cloud Storage show what was written before them, so of two at the same time at most one goes on.
        """
        head, _, tail = name.rpartition("/")
        folder = f"{head}/{_CLAIMS}{tail}".lstrip("/")
        for _ in range(_CLAIM_TRIES):
            if self.exists(name):
                return False
            claim = f"{folder}/{secrets.token_hex(8)}"
            self.write(claim, b"")
            try:
                if self._is_alone(folder, claim):
                    if self.exists(name):
                        return False
                    self.write(name, data)
                    return True
            finally:
                self.delete(claim)
                self.delete(folder)
            time.sleep(uniform(0.1, 1.0))  # noqa: S311  (so that two that met do not meet again)
        return False

    def names(self, folder: str = "") -> list[str]:
        """See `StorePlace`. Names that no file of a folder can have, such as `..`, are left out.

        Of Google Cloud Storage, pyarrow tells the folders only by what lies in them: all that is below is listed.
        """
        key, found = self._key(folder), set()
        for info in self._listed(key):
            name, below, _ = info.path[len(key) + 1 :].partition("/")
            if name not in ("", ".", "..") and "\0" not in name and not name.startswith(_CLAIMS):
                found.add(f"{name}/" if below or info.type.name == "Directory" else name)
        return sorted(found)

    def exists(self, name: str) -> bool:
        """See `StorePlace`."""
        return self._is_file(self._key(name))

    def delete(self, name: str) -> None:
        """See `StorePlace`."""
        key, files = self._key(name), self._files
        try:
            kind = files.get_file_info(key).type.name
            if kind == "File":
                files.delete_file(key)
            elif kind == "Directory" and not self._listed(key):
                files.delete_dir(key)
        except OSError as error:
            if is_missing(error):
                return
            self._probe("delete")
            raise place_error(self.address, "delete", error) from error

    def clean_up(self, folder: str = "", nobody_writes: bool = False) -> None:
        """See `StorePlace`. Nobody leaves drafts in a bucket."""

    # ---------------------------------------------------------------------------------------------------------- within

    @property
    def _files(self) -> Any:
        try:
            return file_system_of(self.address)
        except OSError as error:
            raise place_error(self.address, "read", error) from error

    def _key(self, name: str) -> str:
        inside = "/".join(part for part in (self.address.path, checked_name(self, name) if name else "") if part)
        return f"{self.address.bucket}/{inside}" if inside else self.address.bucket

    def _probe(self, doing: str) -> None:
        """Raise what is the matter with the whole place, where anything is; this asks with little patience."""
        try:
            files = file_system_of(self.address, first=True)
            from pyarrow import fs  # that it is there is known from here on

            files.get_file_info(fs.FileSelector(f"{self.address.bucket}/{_NOBODYS}"))
        except OSError as error:
            if not is_missing(error):
                raise place_error(self.address, doing, error) from error
            if self.address.scheme == "gs" and self._lacks_bucket(files):
                raise place_error(self.address, doing, OSError("Status(NOT_FOUND)")) from error

    def _lacks_bucket(self, files: Any) -> bool:
        """Whether Google knows of no such bucket: it lists one that is not there as an empty one."""
        try:
            return bool(files.get_file_info(self.address.bucket).type.name == "NotFound")
        except OSError:  # who may only read objects may not ask
            return False

    def _is_file(self, key: str) -> bool:
        try:
            return bool(self._files.get_file_info(key).type.name == "File")
        except OSError as error:
            self._probe("read")
            raise place_error(self.address, "read", error) from error

    def _listed(self, key: str) -> list[Any]:
        files = self._files
        from pyarrow import fs

        try:
            return list(files.get_file_info(fs.FileSelector(key, True, recursive=self.address.scheme == "gs")))
        except OSError as error:
            if is_missing(error):
                return []
            raise place_error(self.address, "list", error) from error

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        try:
            source = self._files.open_input_file(self._key(name))
        except OSError as error:
            if not is_missing(error):
                raise
            raise StoreError(f"{self}/{printable(name)} is not there: it was removed, or never written") from None
        with source:
            yield source

    def _download(self, name: str, sink: Any, folder: Path) -> None:
        """Write a file of the place to a file of this machine."""
        try:
            with self._opened(name) as source:
                size = source.size()
                _require_room(f"{self}/{printable(name)}", size, folder)
                got = 0
                while data := _read(source, _CHUNK):
                    got += len(data)
                    try:
                        sink.write(data)
                    except OSError as error:
                        raise write_error(Path(tempfile.gettempdir()), error) from error
        except OSError as error:
            raise self._failed_to_read(name, error) from error
        if got != size:
            raise StoreError(f"{self}/{printable(name)}: expected {size} bytes, got {got}: it changes while it is read")

    def _failed_to_read(self, name: str, error: OSError) -> StoreError:
        """The error of a file that alone cannot be read; where that holds of the whole place, this raises so."""
        self._probe("read")
        return StoreError(f"{self}/{printable(name)}: {self.address.server} failed to read it ({code_of(error)})")

    def _upload(self, file: Path, name: str) -> None:
        """Send a file, in a thread of its own: Ctrl-C waits for it, so that what a server gets is whole.

        A stream of pyarrow's that is thrown away half written makes an object of what it got.
        """
        files, key = self._files, self._key(name)
        try:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(_send, files, key, file).result()
        except OSError as error:
            self._probe("write")
            raise place_error(self.address, "write", error) from error

    def _is_alone(self, folder: str, claim: str) -> bool:
        """Whether a claim is the only one in a folder that is not too old to be meant any more."""
        times = {info.base_name: info.mtime for info in self._listed(self._key(folder)) if info.mtime is not None}
        own = times.pop(claim.rpartition("/")[2], None)
        if own is None:
            raise PlaceError(
                f"{self}: {self.address.server} does not list what was just written, so no writer can be kept alone: "
                f"name a place on another server"
            )
        return all((own - other).total_seconds() > _CLAIM_S for other in times.values())


def _read(source: Any, size: int | None = None) -> bytes:
    """Read on, again where the client did not: it has no room for an error that is longer than the file (pyarrow 26).

    A lock and a transcript are shorter than what a server says when it is overloaded.
    """
    for pause_s in _PAUSES_S:
        try:
            return bytes(source.read(size))
        except OSError as error:
            if _NO_ROOM_FOR_ERROR not in str(error):
                raise
        time.sleep(pause_s)
    return bytes(source.read(size))


def _send(files: Any, key: str, file: Path) -> None:
    """Write an object. Not with `copy_files`, which says nothing of a server's refusal (pyarrow 26)."""
    import pyarrow

    data = pyarrow.memory_map(str(file)).read_buffer() if file.stat().st_size else b""
    sink = files.open_output_stream(key)
    try:
        sink.write(data)
    except OSError:
        with suppress(OSError):
            sink.close()  # it has no whole object, and says so
        raise
    sink.close()


def _require_room(shown: str, size: int, folder: Path) -> None:
    """Refuse to download what has no room here: an object that no disk of this machine could hold, or any other.

    Raises:
        StoreError: the first; other files may still be read.
        OutputError: the second.
    """
    disk, place = shutil.disk_usage(folder), tempfile.gettempdir()
    if size > disk.total:
        raise StoreError(f"{shown}: expected a file that fits on the disk of {place}, got {size / 1e9:,.0f} GB")
    if size > disk.free:
        raise OutputError(
            f"{place}: expected room for {shown}, {size / 1e6:,.0f} MB, found {disk.free / 1e6:,.0f}: free some, or "
            f"name another folder in TMPDIR"
        )


def checked_name(place: object, name: str) -> str:
    """A name that leads to no other folder than that of the place.

    Raises:
        StoreError: it would.
    """
    parts = name.rstrip("/").split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > _LONGEST for part in parts) or "\0" in name:
        raise StoreError(f"{place}: expected the name of a file in it, got {name!r:.80}")
    return "/".join(parts)
