"""Reads the files of one folder through one descriptor, and hashes what it reads.

A path may lead elsewhere a moment later; a descriptor may not. So the folder is opened once, and its files are opened
in it: regular files alone, and no symbolic links. What is read is hashed as it is read.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedReader
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from taemi_edge.bundle.limits import MIB
from taemi_edge.errors import BundleError


class FileDigest(NamedTuple):
    """The sha256 of a file as 64 hexadecimal digits, how many bytes it has, and whether a text occurs in it."""

    sha256: str
    size: int
    found: bool = False


class OpenedFolder:
    """A folder that was opened; a context manager.

    Args:
        folder: where it lies; it may be a symbolic link to a folder, and what it leads to now is what is read.

    Raises:
        BundleError: it is no folder, or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise BundleError(f"{folder}: expected a folder that can be read: {_reason(error)}") from error

    def __enter__(self) -> OpenedFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)

    def names(self, most: int) -> list[str]:
        """The names of what lies in the folder, sorted; no more than `most`."""
        try:
            with os.scandir(self._descriptor) as entries:
                return sorted(entry.name for entry in islice(entries, most))
        except OSError as error:
            raise BundleError(f"{self.folder}: expected a folder that can be read: {_reason(error)}") from error

    def read(self, name: str, most: int) -> tuple[bytes, FileDigest]:
        """Give the content of a file with its digest.

        Args:
            name: of a file in the folder.
            most: how many bytes it may have.

        Raises:
            BundleError: it is missing, too large, no regular file, or cannot be read.
        """
        with self._opened(name, most) as (stream, size), self._explained(name):
            content = stream.read(size)
        return content, FileDigest(sha256(content).hexdigest(), len(content))

    def map(self, name: str, most: int) -> tuple[bytes | mmap.mmap, FileDigest]:
        """Give the content of a file with its digest, mapped into memory where nobody else can write the file.

        What is mapped may change after it was hashed, so a file that others may write is read instead.

        Args:
            name: of a file in the folder.
            most: how many bytes it may have.

        Raises:
            BundleError: it is missing, too large, no regular file, or cannot be read.
        """
        with self._opened(name, most) as (stream, size), self._explained(name):
            if size and _is_ours_alone(os.fstat(stream.fileno())):
                mapped = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
                return mapped, FileDigest(sha256(mapped).hexdigest(), size)
        return self.read(name, most)

    def digest(self, name: str, most: int, find: bytes = b"") -> FileDigest:
        """Hash a file in blocks.

        Args:
            name: of a file in the folder.
            most: how many bytes it may have.
            find: a text to look for on the way.

        Raises:
            BundleError: it is missing, too large, no regular file, or cannot be read.
        """
        digest, size, found = sha256(), 0, False
        kept = max(len(find) - 1, 0)  # the end of the last block, in which the text may begin
        block = bytearray(kept + MIB)
        view = memoryview(block)
        with self._opened(name, most) as (stream, _), self._explained(name):
            while count := stream.readinto(view[kept:]):
                digest.update(view[kept : kept + count])
                size += count
                if size > most:
                    raise BundleError(f"{name} is too large: it grew beyond {most:,} bytes while it was read")
                found = found or bool(find and block.find(find, 0, kept + count) >= 0)
                view[:kept] = view[count : count + kept]
        return FileDigest(digest.hexdigest(), size, found)

    @contextmanager
    def _opened(self, name: str, most: int) -> Iterator[tuple[BufferedReader, int]]:
        """Open a regular file and say how many bytes it has."""
        with self._explained(name):
            # without O_NONBLOCK a named pipe would wait here for its writer
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            kind = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode
            if not stat.S_ISREG(kind):  # opening a device may do something
                raise BundleError(_irregular(name, kind))
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(_irregular(name, found.st_mode))
            if found.st_size > most:
                raise BundleError(f"{name} is too large: expected at most {most:,} bytes, got {found.st_size:,}")
            yield stream, found.st_size

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn the system's error into words."""
        try:
            yield
        except FileNotFoundError as error:
            raise BundleError(f"{name} is missing") from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{name} cannot be read ({_reason(error)})") from error


def _is_ours_alone(status: os.stat_result) -> bool:
    """Whether only the user who runs this, or root, can write a file."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _irregular(name: str, mode: int) -> str:
    kinds = {
        "a symbolic link": stat.S_ISLNK,
        "a folder": stat.S_ISDIR,
        "a named pipe": stat.S_ISFIFO,
        "a socket": stat.S_ISSOCK,
    }
    kind = next((words for words, is_kind in kinds.items() if is_kind(mode)), "a device")
    return f"{name} is {kind}, where a bundle has files of its own"


def _reason(error: OSError | ValueError) -> str:
    return str((isinstance(error, OSError) and error.strerror) or error)
