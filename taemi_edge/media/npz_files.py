"""Reads arrays of .npz files from anybody: nothing is unpickled, and no more room is taken than the file fills."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import InputError

#: The arrays that are read of a file may have so many bytes together.
MOST_BYTES = 2**30


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
    arrays: dict[str, Array] = {}
    room = MOST_BYTES
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if names is None or name in names:
                    arrays[name] = _read(archive, entry, room)
                    room -= arrays[name].nbytes
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{file}: expected an npz file of arrays of numbers, cannot read it: {error!s:.200}"
        ) from error
    return arrays


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, room: int) -> Array:
    with archive.open(entry) as stream:
        shape, dtype = _header(stream)
        claimed, held = math.prod(shape) * dtype.itemsize, entry.file_size - stream.tell()
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} holds pickled objects, which are never read")
        if claimed != held:
            raise ValueError(f"{entry.filename} claims {claimed:,} bytes and holds {held:,}")
        if claimed > room:
            raise ValueError(f"its arrays take more than {MOST_BYTES:,} bytes: cut it into several files")
    with archive.open(entry) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type that an array claims to have."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"expected the npy format 1.0 or 2.0, got {version[0]}.{version[1]}")
    shape, _, dtype = readers[version](stream)
    return shape, dtype
