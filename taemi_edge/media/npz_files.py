"""Reads arrays of .npz files from anybody: nothing is unpickled, and no more room is taken than the file fills."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError

#: The arrays that are read of a file may have so many bytes together.
MOST_BYTES = 2**30
#: What opens an entry's line in a zip's directory; each line becomes an object of its own.
_ENTRY = b"PK\x01\x02"
#: numpy packs with these; others ask for memory before they give anything.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What reading a damaged file may raise.
_DAMAGED = (
    *(OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error),
    *(MemoryError, OverflowError, TypeError, IndexError),
)


def read_arrays(file: Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """Read arrays of a .npz file.

    Args:
        file: as `numpy.savez` and `numpy.savez_compressed` write them.
        names: of the arrays that are wanted, where they are there; all by default.

    Raises:
        InputError: it is no such file, an array holds pickled objects or less than it claims, or they are too large.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "imu.npz", values=np.ones((2, 3)), notes=np.array(["a"]))
        ...     read_arrays(Path(folder) / "imu.npz", {"values"})["values"].shape
        (2, 3)
    """
    try:
        return _arrays(file, names, MOST_BYTES)
    except _DAMAGED as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: BaseException) -> InputError:
    return InputError(f"{file}: expected an npz file of arrays of numbers, cannot read it: {error!s:.200}")


def array_names(file: Path) -> list[str]:
    """The names of the arrays of a .npz file; no array is read.

    Raises:
        InputError: it is no such file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "imu.npz", values=np.ones((2, 3)))
        ...     array_names(Path(folder) / "imu.npz")
        ['values']
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGED as error:
        raise _unreadable(file, error) from error


def npz_digest(file: Path) -> bytes:
    """A hash of the arrays of a .npz file by their names, sizes and checksums (CRC-32), which stand at its end.

    No array is read. The whole file is hashed where it has no such directory.

    Raises:
        InputError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "a.npz", values=np.ones(3))
        ...     np.savez(Path(folder) / "b.npz", values=np.ones(3))
        ...     npz_digest(Path(folder) / "a.npz") == npz_digest(Path(folder) / "b.npz")
        True
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [f"{e.filename}\0{e.file_size}\0{e.CRC}" for e in archive.infolist()]
        return sha256("\n".join(sorted(entries)).encode(errors="surrogateescape")).digest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except _DAMAGED:
        return sha256(file.read_bytes()).digest()


def read_array(file: Path) -> Array:
    """Read the array of a .npy file.

    Raises:
        InputError: it is no such file, or holds pickled objects, less than it claims, or more than 1 GiB.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "token.npy", np.ones(3))
        ...     read_array(Path(folder) / "token.npy").shape
        (3,)
    """
    try:
        with file.open("rb") as stream:
            shape, dtype = _header(stream)
            claimed, held = math.prod(shape) * dtype.itemsize, file.stat().st_size - stream.tell()
            if dtype.hasobject or claimed != held or min(shape, default=0) < 0 or claimed > MOST_BYTES:
                raise ValueError(f"it claims {claimed:,} bytes of {dtype} and holds {held:,}")
        array: Array = np.load(file, allow_pickle=False)
    except _DAMAGED as error:
        raise InputError(f"{file}: expected an array of numbers in a .npy file: {error!s:.200}") from error
    return array


def arrays_of(content: bytes, most_bytes: int, most_arrays: int) -> dict[str, Array]:
    """Give the arrays of the content of a .npz file.

    Args:
        content: of the file.
        most_bytes: how many bytes the arrays may have together.
        most_arrays: how many there may be.

    Raises:
        InputError: it is no such file, an array holds pickled objects or less than it claims, or they are too many or
            too large.
    """
    try:
        if (count := content.count(_ENTRY)) > most_arrays:
            raise ValueError(f"expected at most {most_arrays:,} arrays, got {count:,}")
        return _arrays(BytesIO(content), None, most_bytes)
    except _DAMAGED as error:
        raise InputError(f"expected an npz file of arrays of numbers, cannot read it: {error!s:.200}") from error


def _arrays(file: Path | BytesIO, names: Collection[str] | None, most_bytes: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    room = most_bytes
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if names is None or name in names:
                array = _read(archive, entry, room)
                if array is None:
                    raise ValueError(f"its arrays take more than {most_bytes:,} bytes: cut it into several files")
                arrays[name] = array
                room -= array.nbytes
    return arrays


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, room: int) -> Array | None:
    """Read one array; None where it takes more room than there is."""
    if entry.compress_type not in _PACKED:
        raise ValueError(f"{entry.filename} is packed in a way that numpy does not write")
    with archive.open(entry) as stream:
        shape, dtype = _header(stream)
        claimed, held = math.prod(shape) * dtype.itemsize, entry.file_size - stream.tell()
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} holds pickled objects, which are never read")
        if claimed != held or min(shape, default=0) < 0:
            raise ValueError(f"{entry.filename} claims {claimed:,} bytes and holds {held:,}")
        if claimed > room:
            return None
    with archive.open(entry) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type that an array claims to have."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"expected the npy format 1.0 or 2.0, got {version[0]}.{version[1]}")
    try:
        shape, _, dtype = readers[version](stream)
    except Exception as error:  # it is read as Python: a tokenizer's, a parser's or a type's error
        raise ValueError(f"expected the header of an array: {error!s:.100}") from error
    return shape, dtype
