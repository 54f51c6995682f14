"""Writes what the channels of a run say into MCAP files that can be read up to the last moments, however the run ends.

The messages of about two seconds are a chunk, which is written as a whole. After a crash, SIGKILL or on a full disk,
the file ends behind a whole chunk and lacks its index alone: readers go through it from its beginning. A file that is
there already is never written to: the next free name is taken, run-2.mcap after run.mcap.

This module needs foxglove-sdk: import it where that was asked for alone.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from foxglove import Context, open_mcap
from foxglove.mcap import MCAPCompression, MCAPWriteOptions

from taemi_edge.bundle.atomic import write_error
from taemi_edge.live.outputs.channels.described_run import METADATA
from taemi_edge.live.viewer_config import McapConfig

log = logging.getLogger("taemi_edge.live")

_CHUNK_BYTES = 1 << 20
_CHUNK_S = 2.0
#: After so many seconds a disk that was full is tried again.
_AGAIN_S = 60.0
_MOST_PARTS = 1_000_000
#: The header and the name of the metadata behind it lie within so many bytes.
_HEAD_BYTES = 256


class McapFile:
    """A recording: one file, or parts of which the oldest are removed.

    Nothing of it raises after it was opened: a disk that is full costs a part of the recording, and the log says so.

    Args:
        config: the file, and how large it may become.
        context: of foxglove-sdk, whose channels are recorded.
        metadata: what is said of the run in each part.
        on_part: called when a part begins, so that its pictures can be read without those before.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(
        self, config: McapConfig, context: Context, metadata: Mapping[str, str], on_part: Callable[[], None]
    ) -> None:
        self._config, self._context, self._metadata, self._on_part = config, context, dict(metadata), on_part
        self._file = Path(config.file)
        #: How often writing has failed, and how many bytes were written in all.
        self.failures = self.written = 0
        #: Why something of the run was not written, at first; None where all was.
        self.problem: OSError | None = None
        self._again_s: float | None = None
        self._part: _Part | None = None
        try:
            self._part = self._open_part()
        except OSError as error:
            raise write_error(self._file, error) from error

    @property
    def path(self) -> Path | None:
        """The part that is written at the moment; None where none is."""
        return None if self._part is None else self._part.path

    def after_hop(self) -> None:
        """Bring what was logged to the file, now and then; begin another part, or end, where it is large enough."""
        if self._part is None:
            self._try_again()
            return
        self._part.bring_to_file()
        if self._part.problem is not None:
            self._give_up(self._part.problem)
        elif self._config.split_mib and self._part.mib >= self._config.split_mib:
            self._next_part()
        elif not self._config.split_mib and self._part.mib >= self._config.most_mib:
            log.warning(
                "%s: the recording ends here, as it has reached %g MiB: raise mcap.most_mib, or set mcap.split_mib to "
                "keep the newest",
                self._part.path,
                self._config.most_mib,
            )
            self.close()

    def close(self) -> None:
        """Finish the file, with its index."""
        if self._part is not None:
            part, self._part = self._part, None
            part.close()
            self.written += part.size
            if part.problem is not None:
                self.problem = self.problem or part.problem
                log.error("%s: the recording has no index: %s", part.path, part.problem)

    def _open_part(self) -> _Part:
        if self._config.split_mib:
            self._make_room()
        path = self._free_name()
        part = _Part(path, self._context, self._metadata)
        if path != self._file and not self.written:
            log.warning("%s is there already: the recording goes to %s", self._file, path)
        self._on_part()
        return part

    def _free_name(self) -> Path:
        """The name of the next part: behind every part that is there, so that the newest has the highest number."""
        numbers = [number for number, _ in _parts(self._file)]
        number = max(numbers, default=0) + 1
        if number > _MOST_PARTS:
            raise OSError(errno.EMFILE, f"{_MOST_PARTS:,} parts of it are there already")
        return self._file if number == 1 else self._file.with_name(f"{self._file.stem}-{number}{self._file.suffix}")

    def _next_part(self) -> None:
        self.close()
        try:
            self._part = self._open_part()
        except OSError as error:
            self._give_up(error)

    def _make_room(self) -> None:
        """Remove the oldest parts until there is room for another one; what others recorded is never removed."""
        parts = [path for _, path in _parts(self._file) if _is_ours(path)]
        sizes = [path.stat().st_size for path in parts]
        room = (self._config.most_mib - self._config.split_mib) * 2**20
        while parts and sum(sizes) > room:
            parts.pop(0).unlink()
            sizes.pop(0)

    def _give_up(self, error: OSError) -> None:
        """End the part at its last whole chunk, and try again later."""
        self.failures += 1
        self.problem = self.problem or error
        place = self._file if self._part is None else self._part.path
        if self._part is not None:
            part, self._part = self._part, None
            part.abandon()
            self.written += part.size
        if self.failures & (self.failures - 1) == 0:  # the first, second, fourth, ...: not a flood
            said = write_error(place, error)
            log.error("the recording pauses, and the run goes on: %s", said)
        self._again_s = time.monotonic() + _AGAIN_S

    def _try_again(self) -> None:
        if self._again_s is None or time.monotonic() < self._again_s:
            return
        try:
            self._part = self._open_part()
        except OSError as error:
            self._give_up(error)
        else:
            log.warning("the recording goes on in %s", self._part.path)


class _Part:
    """One file of a recording.

    Args:
        path: of a file that is not there yet.
        context: of foxglove-sdk, whose channels are recorded.
        metadata: what is said of the run.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, context: Context, metadata: dict[str, str]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._out = _Written(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        options = MCAPWriteOptions(
            compression=MCAPCompression.Zstd,
            chunk_size=_CHUNK_BYTES,
            disable_seeking=True,  # chunks are written whole: what a crash leaves can be read
            compression_threads=0,  # by default zstd takes all cores
        )
        self._writer = open_mcap(self._out, context=context, writer_options=options)
        self._writer.write_metadata(METADATA, metadata)
        self._chunk_s = time.monotonic()
        if self._out.problem is not None:
            problem = self._out.problem
            self.abandon()
            path.unlink(missing_ok=True)
            raise problem

    @property
    def problem(self) -> OSError | None:
        """Why something could not be written; None where all was."""
        return self._out.problem

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._out.size

    @property
    def mib(self) -> float:
        """How large it is, in MiB."""
        return self.size / 2**20

    def bring_to_file(self) -> None:
        """Write what waits, where it has waited long enough."""
        now_s = time.monotonic()
        if now_s - self._chunk_s >= _CHUNK_S:
            self._writer.flush()
            self._chunk_s = now_s

    def close(self) -> None:
        """Write what waits and the index."""
        self._writer.close()
        self._out.close()

    def abandon(self) -> None:
        """Cut off what was written by halves, and write nothing more."""
        self._out.give_up()
        self._writer.close()
        self._out.close()


class _Written:
    """The file as foxglove-sdk writes to it. After a failure it takes all and writes nothing.

    The library logs each message that it cannot write; and what it writes after a failure would lie behind a hole.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0
        self.problem: OSError | None = None
        self._gave_up = False

    def write(self, content: bytes) -> int:
        if self.problem is None and not self._gave_up:
            try:
                self._write_all(content)
                self.size += len(content)
            except OSError as error:
                self.problem = error
                self._cut()
        return len(content)

    def flush(self) -> None:
        """Do nothing: nothing waits here."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """The library asks only where it stands."""
        return self.size

    def give_up(self) -> None:
        self._gave_up = True

    def close(self) -> None:
        os.close(self._descriptor)

    def _write_all(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def _cut(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError as error:
            log.debug("what was written by halves stays: %s", error)


def _is_ours(path: Path) -> bool:
    """Whether a recording begins with the metadata that those of this toolkit begin with."""
    with path.open("rb") as file:
        return METADATA.encode() in file.read(_HEAD_BYTES)


def _parts(file: Path) -> list[tuple[int, Path]]:
    """The parts of a recording that are there, by their number, in its order."""
    pattern = re.compile(re.escape(file.stem) + r"(?:-([1-9][0-9]{0,6}))?" + re.escape(file.suffix))
    folder = file.parent.iterdir() if file.parent.is_dir() else ()
    return sorted((int(match[1] or 1), path) for path in folder if (match := pattern.fullmatch(path.name)))
