"""MCAP files as recordings (https://mcap.dev), also those that were cut off or whose index lies.

The index at the end of a file names topics and counts messages. It is believed only where it agrees with the chunks
that lie in the file; else the chunks themselves are asked. Messages are always found by walking the file.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from taemi_edge.bundle.limits import MIB
from taemi_edge.errors import InputError, MissingExtraError
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.places import shown_place
from taemi_edge.media.recordings import mcap_records as records
from taemi_edge.media.recordings.mcap_records import DamagedRecordError, Piece
from taemi_edge.media.recordings.recording import RecordedMessage, Topic, problem_of

#: Messages of chunks that overlap in time are put in order while no more bytes than this wait.
_MOST_WAITING_BYTES = 256 * MIB


class McapFile:
    """An open MCAP file; see `Recording`.

    Attributes:
        metadata: its metadata records by name, of two of one name the last.

    Raises:
        InputError: not there, or no MCAP file.
        MissingExtraError: the library `mcap` is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import mcap.records
        except ImportError as error:
            raise MissingExtraError("mcap", "recordings", "an MCAP file") from error
        self.path, self.notes = path, list[str]()
        self._kinds = mcap.records
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(f"{shown_place(path)}: expected an MCAP file, cannot read it: {error.strerror}") from error
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        size = self._file.seek(0, 2)
        self._file.seek(0)
        if self._file.read(len(records.MAGIC)) != records.MAGIC:
            found = "an empty file" if not size else "other bytes"
            raise InputError(f"{shown_place(self.path)}: expected an MCAP file, got {found}")
        index = _Index.of(records.read_index(self._file, size), self._kinds)
        self._layout = records.walk(self._file, size, index.chunks if index else [])
        self._pieces = self._layout.pieces
        self.metadata = self._read_metadata()
        self._schemas: dict[int, Any] = dict(index.schemas) if index else {}
        self._channels: dict[int, Any] = dict(index.channels) if index else {}
        whole = self._layout.readable_until is None and index is not None
        #: Whether chunks without messages of a topic may be left out.
        self._skips = whole and index is not None and index.agrees_with(self._pieces)
        if index is not None and whole and not self._skips:
            self.notes.append(f"{self.path}: its index does not fit its content, which is read instead")
        if self._layout.readable_until is not None:
            self._say_how_far(size)
        elif index is None and not records.is_ended(self._file, size):
            self.notes.append(f"{self.path}: was cut off in its index: all its messages are there")
        counts = index.counts if index is not None and self._skips and index.counts else self._count(index is not None)
        self.topics = self._topics(counts)
        times = [piece for piece in self._pieces if piece.end_ns]
        self.start_ns = min((piece.start_ns for piece in times), default=None)
        self.end_ns = max((piece.end_ns for piece in times), default=None)

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """See `Recording`."""
        wanted = {number: channel.topic for number, channel in self._channels.items() if channel.topic in topics}
        types = {number: self._own_type(number) for number in wanted}
        waiting: list[tuple[int, int, RecordedMessage]] = []
        bytes_waiting, order = 0, 0
        pieces = sorted(self._wanted_pieces(set(wanted), start_ns, end_ns), key=lambda p: (p.start_ns, p.offset))
        for at, piece in enumerate(pieces):
            for channel, log_ns, content in self._messages_in(piece):
                if channel not in wanted or not (start_ns or 0) <= log_ns < (end_ns or log_ns + 1):
                    continue
                data = bytes(content)
                message = RecordedMessage(wanted[channel], log_ns, data, types[channel])
                heapq.heappush(waiting, (log_ns, order, message))
                order, bytes_waiting = order + 1, bytes_waiting + len(data)
            until_ns = pieces[at + 1].start_ns if at + 1 < len(pieces) else None
            while waiting and (until_ns is None or waiting[0][0] <= until_ns or bytes_waiting > _MOST_WAITING_BYTES):
                message = heapq.heappop(waiting)[2]
                bytes_waiting -= len(message.data)
                yield message

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> McapFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _wanted_pieces(self, channels: set[int], start_ns: int | None, end_ns: int | None) -> Iterator[Piece]:
        for piece in self._pieces:
            if self._skips and not channels & piece.counts.keys():
                continue
            known = piece.end_ns > 0 and piece.is_whole
            if known and ((start_ns is not None and piece.end_ns < start_ns) or piece.start_ns >= (end_ns or 1 << 64)):
                continue
            yield piece

    def _messages_in(self, piece: Piece) -> Iterator[tuple[int, int, memoryview]]:
        """The messages of a piece; a piece that is damaged is left out from there on, with a note."""
        try:
            for opcode, content in records.read_records(self._file, piece):
                if opcode == records.MESSAGE:
                    yield records.message_of(content)
                elif opcode in (records.CHANNEL, records.SCHEMA):
                    self._learn(opcode, content)
        except DamagedRecordError as error:
            self._note(f"{self.path}: what lies at byte {piece.offset} is left out: {error}")

    def _learn(self, opcode: int, content: bytes | memoryview) -> None:
        kinds = {records.CHANNEL: (self._kinds.Channel, self._channels), records.SCHEMA: (self._kinds.Schema, None)}
        kind, into = kinds[opcode]
        record = records.parsed(kind, content)
        (self._schemas if into is None else into).setdefault(record.id, record)

    def _count(self, has_index: bool) -> dict[int, int]:
        """How many messages each channel has; learns the channels on the way.

        A chunk that is followed by an index of its own is counted by that, where nothing speaks against it.
        """
        counts: Counter[int] = Counter()
        for at, piece in enumerate(self._pieces):
            indexed = piece.counts if piece.is_chunk and not has_index else {}
            if indexed and indexed.keys() <= self._channels.keys():
                counts.update(indexed)
                continue
            found = [(channel, log_ns) for channel, log_ns, _ in self._messages_in(piece)]
            counts.update(channel for channel, _ in found)
            times = [log_ns for _, log_ns in found]
            if times and piece.is_chunk:
                self._pieces[at] = Piece(
                    piece.offset, piece.length, min(times), max(times), piece.is_chunk, piece.is_whole, piece.counts
                )
        return dict(counts)

    def _topics(self, counts: Mapping[int, int]) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for number, channel in sorted(self._channels.items()):
            known = topics.get(channel.topic)
            kind = known.type if known and known.count else self._type(number)
            count = counts.get(number, 0) + ((known.count or 0) if known else 0)
            topics[channel.topic] = Topic(channel.topic, kind, count, problem_of(kind), dict(channel.metadata))
        return topics

    def _type(self, number: int) -> MessageType:
        channel = self._channels[number]
        schema = self._schemas.get(channel.schema_id)
        if schema is None:
            return MessageType("", channel.message_encoding)
        return MessageType(schema.name, channel.message_encoding, bytes(schema.data), schema.encoding)

    def _own_type(self, number: int) -> MessageType | None:
        """The type of a channel where it is another than that of its topic."""
        own = self._type(number)
        return None if own == self.topics[self._channels[number].topic].type else own

    def _read_metadata(self) -> dict[str, dict[str, str]]:
        found = {}
        for offset, length in self._layout.metadata:
            self._file.seek(offset)
            try:
                record = records.parsed(self._kinds.Metadata, self._file.read(length))
            except DamagedRecordError as error:
                self._note(f"{self.path}: metadata at byte {offset} is left out: {error}")
            else:
                found[record.name] = dict(record.metadata)
        return found

    def _say_how_far(self, size: int) -> None:
        at = self._layout.readable_until
        behind = [piece for piece in self._pieces if at is not None and piece.offset > at + records.PREFIX.size]
        if behind:
            self.notes.append(f"{self.path}: is damaged at byte {at:,}: what lies before and behind that is read")
        else:
            self.notes.append(f"{self.path}: was cut off or damaged at byte {at:,} of {size:,}: it is read up to there")

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)


class _Index:
    """What the end of a file says of its content."""

    def __init__(self) -> None:
        self.schemas: dict[int, Any] = {}
        self.channels: dict[int, Any] = {}
        self.chunks: list[int] = []
        self.counts: dict[int, int] = {}

    @classmethod
    def of(cls, found: list[tuple[int, bytes]] | None, kinds: Any) -> _Index | None:
        if found is None:
            return None
        index = cls()
        try:
            for opcode, content in found:
                if opcode == records.SCHEMA:
                    schema = records.parsed(kinds.Schema, content)
                    index.schemas[schema.id] = schema
                elif opcode == records.CHANNEL:
                    channel = records.parsed(kinds.Channel, content)
                    index.channels[channel.id] = channel
                elif opcode == records.CHUNK_INDEX:
                    index.chunks.append(records.parsed(kinds.ChunkIndex, content).chunk_start_offset)
                elif opcode == records.STATISTICS:
                    index.counts = dict(records.parsed(kinds.Statistics, content).channel_message_counts)
        except DamagedRecordError:
            return None
        return index

    def agrees_with(self, pieces: list[Piece]) -> bool:
        """Whether the chunks lie where it says, and hold as many messages of each channel as it says."""
        if sorted(self.chunks) != [piece.offset - records.PREFIX.size for piece in pieces if piece.is_chunk]:
            return False
        counts: Counter[int] = Counter()
        for piece in pieces:
            counts.update(piece.counts)
        said = {channel: count for channel, count in self.counts.items() if count}
        return said == {channel: count for channel, count in counts.items() if count} and said.keys() <= (
            self.channels.keys()
        )
