"""What a fuzzing process has done so far, in a file that outlives it however it ends: counts, and its present input."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

#: A `Counts`, whether an input is being read, and its length.
_HEAD = struct.Struct("<QdddQQ")
_ROOM = 1 << 20


class Counts(NamedTuple):
    """What was done so far: inputs, seconds, seconds of the slowest input, and memory above that of the start."""

    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    memory_mb: float = 0.0


@dataclass(frozen=True)
class Tally:
    """The counts of a process, and the input that it is reading, or was reading when it ended."""

    counts: Counts
    content: bytes | None


class Ledger:
    """A file of counts, mapped into memory.

    Args:
        file: made where it is not there.
    """

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(b"\0" * (_HEAD.size + _ROOM))
        with file.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), 0)

    def begin(self, counts: Counts, content: bytes) -> None:
        """Note an input before it is read."""
        kept = content[:_ROOM]
        self._map[_HEAD.size : _HEAD.size + len(kept)] = kept
        _HEAD.pack_into(self._map, 0, *counts, 1, len(kept))

    def end(self, counts: Counts) -> None:
        """Note that the input was read."""
        _HEAD.pack_into(self._map, 0, *counts, 0, 0)

    def read(self) -> Tally:
        """What the file says now."""
        *counts, is_reading, size = _HEAD.unpack_from(self._map)
        content = bytes(self._map[_HEAD.size : _HEAD.size + size]) if is_reading else None
        return Tally(Counts(*counts), content)
