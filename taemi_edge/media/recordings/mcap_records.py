"""The records of an MCAP file (https://mcap.dev/spec): where they lie, and what is in a chunk of them.

The records at the top of a file are walked by their lengths, each checked against the bytes that are there, so nothing
is taken into memory because a file claims it. What a record holds is read by the library `mcap`.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from taemi_edge.bundle.limits import MIB
from taemi_edge.errors import InputError, MissingExtraError, first_line

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = 1, 2, 3, 4, 5, 6, 7, 8
STATISTICS, METADATA, DATA_END = 0x0B, 0x0C, 0x0F
#: Opcode and length, in front of each record.
PREFIX = struct.Struct("<BQ")
#: The record at the end of a file, with its prefix.
FOOTER_BYTES = PREFIX.size + 20
#: A chunk, unpacked; recorders write up to some ten MB.
MOST_CHUNK_BYTES = 512 * MIB
#: The index at the end of a file: a thousand chunks of a hundred channels have 1 MiB.
MOST_INDEX_BYTES = 256 * MIB
#: A schema, a channel or a metadata record.
_MOST_SMALL_BYTES = 16 * MIB
#: Messages outside chunks are read so many bytes at a time.
_RUN_BYTES, _RUN_RECORDS = MIB, 4096
_CHUNK_HEAD = struct.Struct("<QQQII")
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_INDEX_HEAD = struct.Struct("<HI")


class DamagedRecordError(InputError):
    """A record cannot be read."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a file that holds messages: a chunk, or records outside chunks that follow each other.

    Attributes:
        offset, length: of the chunk's content, or of the records.
        start_ns, end_ns: the log times of its first and last message, as the file says.
        is_chunk: whether it is packed as a chunk.
        is_whole: False for the last chunk of a file that was cut off in it.
        counts: how many messages of which channel it holds, where that is known without unpacking it.
    """

    offset: int
    length: int
    start_ns: int
    end_ns: int
    is_chunk: bool = True
    is_whole: bool = True
    counts: dict[int, int] = field(default_factory=dict)


@dataclass
class Layout:
    """What lies where in a file.

    Attributes:
        pieces: with messages, in the order of the file.
        metadata: the offsets and lengths of metadata records.
        readable_until: where the first record begins that cannot be read; None where all can.
    """

    pieces: list[Piece] = field(default_factory=list)
    metadata: list[tuple[int, int]] = field(default_factory=list)
    readable_until: int | None = None


def walk(file: BinaryIO, size: int, resume_at: list[int]) -> Layout:
    """Find the pieces of a file by the lengths of its records.

    Args:
        size: of the file, in bytes.
        resume_at: where chunks lie, as the file's index says: behind damage the walk goes on at the next of them.
    """
    layout, run = Layout(), _Run()
    resume_at = sorted(resume_at)
    offset = len(MAGIC)
    while True:
        opcode, length = _prefix(file, offset)
        start, end = offset + PREFIX.size, offset + PREFIX.size + length
        if opcode in (DATA_END, FOOTER):
            break
        if not opcode or end > size or (opcode == MESSAGE and length < _MESSAGE_HEAD.size):
            layout.readable_until = offset if layout.readable_until is None else layout.readable_until
            run.end(layout)
            next_chunk = bisect_right(resume_at, offset)
            following = resume_at[next_chunk] if next_chunk < len(resume_at) else None
            if opcode == CHUNK and following is None:
                _add_chunk(file, layout, start, min(size - start, MOST_CHUNK_BYTES), is_whole=False)
            if following is None:
                break
            offset = following
            continue
        if opcode in (MESSAGE, SCHEMA, CHANNEL):
            run.add(layout, offset, end, _channel_and_time(file, start) if opcode == MESSAGE else None)
        else:
            run.end(layout)
        if opcode == CHUNK:
            _add_chunk(file, layout, start, length)
        elif opcode == MESSAGE_INDEX and layout.pieces and length >= _INDEX_HEAD.size:
            channel, of_bytes = _INDEX_HEAD.unpack(_at(file, start, _INDEX_HEAD.size))
            layout.pieces[-1].counts[channel] = of_bytes // 16
        elif opcode == METADATA and length <= _MOST_SMALL_BYTES:
            layout.metadata.append((start, length))
        offset = end
    run.end(layout)
    return layout


class _Run:
    """Records outside chunks that follow each other, and become one piece."""

    def __init__(self) -> None:
        self._offset, self._end, self._records = 0, 0, 0
        self._times_ns: tuple[int, int] | None = None
        self._counts: Counter[int] = Counter()

    def add(self, layout: Layout, offset: int, end: int, message: tuple[int, int] | None) -> None:
        if self._records and (end - self._offset > _RUN_BYTES or self._records >= _RUN_RECORDS):
            self.end(layout)
        if not self._records:
            self._offset = offset
        self._end, self._records = end, self._records + 1
        if message is not None:
            channel, log_ns = message
            self._counts[channel] += 1
            first, last = self._times_ns or (log_ns, log_ns)
            self._times_ns = min(first, log_ns), max(last, log_ns)

    def end(self, layout: Layout) -> None:
        if self._records:
            # schemas and channels alone belong to what follows them
            length, times_ns = self._end - self._offset, self._times_ns or (0, 0)
            layout.pieces.append(Piece(self._offset, length, *times_ns, is_chunk=False, counts=dict(self._counts)))
        self._records, self._times_ns = 0, None
        self._counts.clear()


def _add_chunk(file: BinaryIO, layout: Layout, start: int, length: int, is_whole: bool = True) -> None:
    head = _at(file, start, _CHUNK_HEAD.size)
    if len(head) == _CHUNK_HEAD.size <= length:
        start_ns, end_ns, *_ = _CHUNK_HEAD.unpack(head)
        layout.pieces.append(Piece(start, length, start_ns, end_ns, is_whole=is_whole))


def _prefix(file: BinaryIO, offset: int) -> tuple[int, int]:
    """The opcode and the length of a record; opcode 0, which no record has, where the file is over."""
    found = _at(file, offset, PREFIX.size)
    return PREFIX.unpack(found) if len(found) == PREFIX.size else (0, 0)


def _channel_and_time(file: BinaryIO, start: int) -> tuple[int, int]:
    """The channel and the log time of a message."""
    channel, _, log_ns, _ = _MESSAGE_HEAD.unpack(_at(file, start, _MESSAGE_HEAD.size))
    return channel, log_ns


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def read_records(file: BinaryIO, piece: Piece) -> Iterator[tuple[int, memoryview]]:
    """The records of a piece: the opcode of each and its content.

    Raises:
        DamagedRecordError: the piece cannot be unpacked, or its records do not fit in it. A piece that is not whole
            gives the records that are there.
    """
    data = _at(file, piece.offset, piece.length)
    unpacked = memoryview(_unpacked(data, piece.is_whole) if piece.is_chunk else data)
    at = 0
    while at < len(unpacked):
        if at + PREFIX.size > len(unpacked):
            break
        opcode, length = PREFIX.unpack_from(unpacked, at)
        at += PREFIX.size
        if at + length > len(unpacked):
            break
        yield opcode, unpacked[at : at + length]
        at += length
    if at < len(unpacked) and piece.is_whole:
        raise DamagedRecordError(f"a record at byte {piece.offset} is longer than the chunk that it lies in")


def message_of(content: memoryview) -> tuple[int, int, memoryview]:
    """The channel, the log time and the data of a message record.

    Raises:
        DamagedRecordError: it is too short.
    """
    if len(content) < _MESSAGE_HEAD.size:
        raise DamagedRecordError("a message is shorter than its own head")
    channel, _, log_ns, _ = _MESSAGE_HEAD.unpack_from(content)
    return channel, log_ns, content[_MESSAGE_HEAD.size :]


def parsed(kind: Any, content: bytes | memoryview) -> Any:
    """A record as the library reads it.

    Args:
        kind: a class of `mcap.records`.

    Raises:
        DamagedRecordError: the content is no such record.
    """
    from mcap.data_stream import ReadDataStream
    from mcap.exceptions import McapError

    if len(content) > _MOST_SMALL_BYTES:
        raise DamagedRecordError(f"a {kind.__name__} record has {len(content):,} bytes, and none needs so many")
    try:
        return kind.read(ReadDataStream(BytesIO(content)))
    except (McapError, ValueError, struct.error, OverflowError) as error:
        raise DamagedRecordError(f"a {kind.__name__} record cannot be read: {first_line(error)}") from error


def is_ended(file: BinaryIO, size: int) -> bool:
    """Whether a file ends as every whole one does."""
    return _at(file, size - len(MAGIC), len(MAGIC)) == MAGIC


def read_index(file: BinaryIO, size: int) -> list[tuple[int, bytes]] | None:
    """The records of the index at the end of a file; None where it has none, or one that cannot be walked."""
    footer = _at(file, size - len(MAGIC) - FOOTER_BYTES, FOOTER_BYTES) if size >= 2 * len(MAGIC) + FOOTER_BYTES else b""
    if len(footer) < FOOTER_BYTES or PREFIX.unpack_from(footer) != (FOOTER, 20):
        return None
    start = struct.unpack_from("<Q", footer, PREFIX.size)[0]
    end = size - len(MAGIC) - FOOTER_BYTES
    if not len(MAGIC) < start < end or end - start > MOST_INDEX_BYTES:
        return None
    piece = Piece(start, end - start, 0, 0, is_chunk=False)
    try:
        return [(opcode, bytes(content)) for opcode, content in read_records(file, piece)]
    except DamagedRecordError:
        return None


def _unpacked(data: bytes, is_whole: bool) -> bytes:
    """The records that a chunk holds."""
    if len(data) < _CHUNK_HEAD.size:
        raise DamagedRecordError("a chunk is shorter than its own head")
    _, _, length, checksum, letters = _CHUNK_HEAD.unpack_from(data)
    at = _CHUNK_HEAD.size + letters
    if letters > 32 or at + 8 > len(data):
        raise DamagedRecordError("a chunk says nothing of its compression")
    compression = data[_CHUNK_HEAD.size : at].decode("latin-1")
    packed = data[at + 8 :]
    if length > MOST_CHUNK_BYTES:
        raise DamagedRecordError(f"a chunk claims {length:,} bytes, and up to {MOST_CHUNK_BYTES:,} are read")
    if compression == "":
        unpacked = packed
    elif compression == "zstd":
        unpacked = _unpacked_zstd(packed, length)
    elif compression == "lz4":
        unpacked = _unpacked_lz4(packed, length)
    else:
        raise DamagedRecordError(f"expected chunks that lz4 or zstd packed, got {compression!r}")
    if is_whole and (len(unpacked) != length or (checksum and zlib.crc32(unpacked) != checksum)):
        raise DamagedRecordError("the bytes of a chunk are not those that its checksum was made of")
    return unpacked


def _unpacked_zstd(packed: bytes, length: int) -> bytes:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError("zstandard", "recordings", "a recording that zstd packed") from error

    unpacked = BytesIO()
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed) as reader:
            while len(block := reader.read(min(MIB, length + 1 - unpacked.tell()))):
                unpacked.write(block)
    except zstandard.ZstdError as error:
        if not unpacked.tell():
            raise DamagedRecordError(f"a chunk cannot be unpacked: {first_line(error)}") from error
    return unpacked.getvalue()


def _unpacked_lz4(packed: bytes, length: int) -> bytes:
    try:
        from lz4.frame import LZ4FrameDecompressor
    except ImportError as error:
        raise MissingExtraError("lz4", "recordings", "a recording that lz4 packed") from error

    try:
        return bytes(LZ4FrameDecompressor().decompress(packed, max_length=length + 1))
    except (RuntimeError, EOFError, ValueError) as error:
        raise DamagedRecordError(f"a chunk cannot be unpacked: {first_line(error)}") from error
