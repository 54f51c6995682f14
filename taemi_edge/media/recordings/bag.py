"""ROS bags as recordings: bags of ROS 2 in SQLite or MCAP, each a folder or one of its files, and bags of ROS 1."""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from taemi_edge.errors import InputError, MissingExtraError, first_line
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.places import shown_place
from taemi_edge.media.recordings.mcap_file import McapFile
from taemi_edge.media.recordings.recording import RecordedMessage, Recording, Topic, problem_of

METADATA = "metadata.yaml"
_ENCODINGS = {"MSG": "ros2msg", "IDL": "ros2idl"}


class RosBag:
    """A bag that `rosbags` reads: SQLite files of ROS 2, alone or in a folder, and bags of ROS 1; see `Recording`.

    Raises:
        InputError: it cannot be read.
        MissingExtraError: the library `rosbags` is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.notes, self.metadata = path, list[str](), dict[str, dict[str, str]]()
        self._is_ros1 = path.suffix == ".bag"
        self._reader = _opened(path, self._is_ros1)
        try:
            self.topics = self._topics()
            has_messages = bool(self._reader.message_count)
            self.start_ns = int(self._reader.start_time) if has_messages else None
            self.end_ns = int(self._reader.end_time) - 1 if has_messages else None
        except (TypeError, ValueError, AttributeError) as error:  # SQLite keeps values of any type in any column
            self._reader.close()
            raise _unreadable(path, error) from error
        for file in _files_of(path):
            if file.with_name(f"{file.name}-wal").exists():
                self.notes.append(f"{file}-wal: what the recorder had not yet moved into the bag is not read")

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """See `Recording`."""
        wanted = [one for one in self._reader.connections if one.topic in topics and one.topic in self.topics]
        if not wanted:
            return
        types = {id(one): _own_type(self._type(one), self.topics[one.topic]) for one in wanted}
        found = self._reader.messages(wanted, start=start_ns, stop=end_ns)
        while True:
            message: RecordedMessage | None = None
            try:
                connection, log_ns, data = next(found)
                if id(connection) in types:
                    own = types[id(connection)]
                    message = RecordedMessage(connection.topic, int(log_ns), bytes(memoryview(data)), own)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - rosbags and SQLite raise what a damaged file leads them to
                self.notes.append(f"{self.path}: cannot be read any further: {first_line(error)}")
                return
            if message is not None:
                yield message

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> RosBag:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _topics(self) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for connection in self._reader.connections:
            if not (isinstance(connection.topic, str) and isinstance(connection.msgtype, str)):
                raise TypeError("the name of a topic is no text")
            known = topics.get(connection.topic)
            kind = known.type if known else self._type(connection)
            count = (connection.msgcount or 0) + ((known.count or 0) if known else 0)
            topics[connection.topic] = Topic(connection.topic, kind, count, problem_of(kind))
        return topics

    def _type(self, connection: Any) -> MessageType:
        definition = connection.msgdef
        schema = str(definition.data or "").encode("utf-8", "replace")
        if self._is_ros1:
            return MessageType(connection.msgtype, "ros1", schema, "ros1msg" if schema else "")
        encoding = str(connection.ext.serialization_format or "cdr")
        return MessageType(connection.msgtype, encoding, schema, _ENCODINGS[definition.format.name] if schema else "")


class McapBag:
    """A bag of ROS 2 whose storage is MCAP: a folder with one file or several that follow each other."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path = path
        with ExitStack() as stack:
            self._files = [stack.enter_context(McapFile(file)) for file in files]
            self._stack = stack.pop_all()
        self.metadata = {name: record for file in self._files for name, record in file.metadata.items()}
        self.topics: dict[str, Topic] = {}
        for topic in (topic for file in self._files for topic in file.topics.values()):
            known = self.topics.get(topic.name, topic)
            count = (topic.count or 0) + (0 if known is topic else known.count or 0)
            self.topics[topic.name] = replace(known, count=count)
        self.start_ns = min((file.start_ns for file in self._files if file.start_ns is not None), default=None)
        self.end_ns = max((file.end_ns for file in self._files if file.end_ns is not None), default=None)

    @property
    def notes(self) -> list[str]:
        return [note for file in self._files for note in file.notes]

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        """See `Recording`."""
        files = (self._typed(file, topics, start_ns, end_ns) for file in self._files)
        return heapq.merge(*files, key=lambda message: message.log_ns)

    def _typed(
        self, file: McapFile, topics: Collection[str], start_ns: int | None, end_ns: int | None
    ) -> Iterator[RecordedMessage]:
        """The messages of a file; those whose type is not that of the first file's topic say so."""
        for message in file.messages(topics, start_ns, end_ns):
            kind = message.type or file.topics[message.topic].type
            own = _own_type(kind, self.topics[message.topic])
            yield message if own == message.type else RecordedMessage(message.topic, message.log_ns, message.data, own)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> McapBag:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_bag(path: Path) -> Recording:
    """Open a bag of ROS 1 or 2.

    Args:
        path: a .bag, a .db3, or a folder with `metadata.yaml`.

    Raises:
        InputError, MissingExtraError: see `RosBag`.
    """
    if path.is_dir():
        files = sorted(path.glob("*.mcap"))
        if files and not any(path.glob("*.db3*")):
            return McapBag(path, _in_order(path, files))
    return RosBag(path)


def _in_order(folder: Path, files: list[Path]) -> list[Path]:
    """The MCAP files of a bag that its metadata name; all that are there where the metadata cannot be read."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError:
        return files
    try:
        text = (folder / METADATA).read_text(encoding="utf-8")
        named = YAML(typ="safe", pure=True).load(text)["rosbag2_bagfile_information"]["relative_file_paths"]
        found = [folder / Path(str(name)).name for name in named]
    except (OSError, ValueError, KeyError, TypeError, YAMLError, RecursionError):
        return files
    return [file for file in dict.fromkeys(found) if file in files] or files


def _opened(path: Path, is_ros1: bool) -> Any:
    try:
        from rosbags import rosbag1, rosbag2
    except ImportError as error:
        raise MissingExtraError("rosbags", "recordings", "a ROS bag") from error
    try:
        reader: Any = rosbag1.Reader(path) if is_ros1 else rosbag2.Reader(path)
        reader.open()
    except (rosbag1.ReaderError, rosbag2.ReaderError, OSError, ValueError, struct.error) as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # a damaged bag leads rosbags and SQLite to errors of every kind
        raise _unreadable(path, error) from error
    return reader


def _unreadable(path: Path, error: Exception) -> InputError:
    mend = "`sqlite3 FILE .recover`, or convert it to MCAP,"
    if path.suffix == ".bag" or path.is_dir():
        mend = "`ros2 bag reindex`" if path.is_dir() else "`rosbag reindex`"
    problem = first_line(error).rstrip(".")
    return InputError(
        f"{shown_place(path)}: expected a whole ROS bag, and it cannot be read: {problem}: {mend} may save it"
    )


def _own_type(kind: MessageType, topic: Topic) -> MessageType | None:
    return None if kind == topic.type else kind


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / name for name in sorted(os.listdir(path)) if name.endswith(".db3")]
    return [path]
