"""Writes predictions as JSON lines; each line is written completely or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from taemi_edge.bundle.atomic import write_error

_MOST_LINE_BYTES = 1 << 20


class JsonLines:
    """Writes lines to a file or to standard output; a context manager.

    A file is made with its first line, and it never ends in half a line.

    Args:
        file: where to write; None is standard output.
        append: write after what the file holds already, as a service that is started again must.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "predictions.jsonl"
        ...     with JsonLines(file) as lines:
        ...         lines.write('{"time_s": 0.5}')
        ...     file.read_text()
        '{"time_s": 0.5}\\n'
    """

    def __init__(self, file: Path | None, append: bool = False) -> None:
        self.file, self._append = file, append
        self._stream: IO[bytes] | None = None

    def write(self, line: str) -> None:
        """Write one line.

        Args:
            line: without a line end.

        Raises:
            OutputError: it cannot be written, as on a full disk.
        """
        if self.file is None:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            return
        try:
            if self._stream is None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self.file.open("ab" if self._append else "wb", buffering=0)
                if self._append:
                    self._end_half_a_line()
            before = os.fstat(self._stream.fileno()).st_size
            content = line.encode() + b"\n"
            if self._stream.write(content) != len(content):
                self._stream.truncate(before)
                self._stream.seek(before)
                raise OSError(28, os.strerror(28))
        except OSError as error:
            raise write_error(self.file, error) from error

    def _end_half_a_line(self) -> None:
        """Cut off what a power cut left of a line; anything else that lacks a line end gets one."""
        if self.file is None or not self.file.is_file():
            return
        with self.file.open("r+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - _MOST_LINE_BYTES))
            half = stream.read().rpartition(b"\n")[2]
            if half.startswith(b"{") and not _is_json(half):
                stream.truncate(end - len(half))
            elif half:
                stream.write(b"\n")

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
