"""Writes drives as robots record them: MCAP files, and the bags of ROS 2 and ROS 1.

material = make_material(folder / "files", seconds=6.0)                  # eye.mp4, wrist.csv, talk.vtt, ...
write_mcap(folder / "drive.mcap", messages(material))                    # chunks, zstd, ros2msg
write_mcap(folder / "plain.mcap", messages(material), compression=None)  # no chunks at all
write_bag(folder / "bag", messages(material), storage="sqlite3")
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mcap.writer import CompressionType, IndexType, Writer
from rosbags.interfaces import Nodetype
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

from tests.robots.definitions import ros2idl, ros2msg, types
from tests.robots.messages import IMU_JSON, Sent

Compression = Literal["zstd", "lz4", "none"] | None
_KINDS = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}


def open_writer(stream: BinaryIO, compression: Compression, chunk_size: int, index: bool) -> Writer:
    """The library's writer of MCAP; see `write_mcap` for what it is given."""
    return Writer(
        stream,
        chunk_size=chunk_size,
        compression=_KINDS[compression or "none"],
        use_chunking=compression is not None,
        index_types=IndexType.ALL if index else IndexType.NONE,
        use_statistics=index,
        repeat_channels=index,
        repeat_schemas=index,
        use_summary_offsets=index,
    )


def write_mcap(
    file: Path,
    sent: Iterable[Sent],
    *,
    compression: Compression = "zstd",
    schemas: Literal["ros2msg", "ros2idl", "none"] = "ros2msg",
    chunk_size: int = 1 << 20,
    index: bool = True,
) -> Path:
    """Write an MCAP file.

    Args:
        file: where to.
        sent: the messages, in the order in which they are written.
        compression: of its chunks; None writes messages without chunks.
        schemas: the form of ROS 2 definitions; "none" leaves them empty, as some writers do.
        chunk_size: bytes of a chunk before it is compressed.
        index: whether there are indexes, statistics and a summary at its end.
    """
    with file.open("wb") as stream:
        writer = open_writer(stream, compression, chunk_size, index)
        writer.start(profile="ros2", library="tests")
        channels: dict[tuple[str, str], int] = {}
        for at, one in enumerate(sent):
            if (one.topic, one.type) not in channels:
                channels[one.topic, one.type] = _add_channel(writer, one, schemas)
            writer.add_message(channels[one.topic, one.type], one.log_ns, one.data, one.log_ns, at)
        writer.finish()
    return file


def _add_channel(writer: Any, one: Sent, schemas: str) -> int:
    if one.encoding == "json":
        encoding, data = "jsonschema", json.dumps(IMU_JSON).encode()
    elif one.encoding == "protobuf":
        encoding, data = "protobuf", _proto_schema(one.type)
    else:
        encoding, data = "" if schemas == "none" else schemas, _definition(one.type, schemas)
    schema = writer.register_schema(one.type, encoding, data)
    channel: int = writer.register_channel(one.topic, one.encoding, schema)
    return channel


def _definition(name: str, schemas: str) -> bytes:
    return b"" if schemas == "none" else ros2idl(name) if schemas == "ros2idl" else ros2msg(name)


def _proto_schema(name: str) -> bytes:
    from foxglove import messages

    data: bytes = getattr(messages, name.partition(".")[2]).get_schema().data
    return data


def write_bag(
    folder: Path,
    sent: Iterable[Sent],
    *,
    storage: Literal["sqlite3", "mcap"] = "sqlite3",
    compression: Literal["none", "message", "file"] = "none",
    version: Literal[8, 9] = 9,
) -> Path:
    """Write a bag of ROS 2; messages that are no CDR are left out, as ROS has none.

    Args:
        folder: must not be there yet.
        sent: the messages.
        storage: what the bag lies in.
        compression: zstd of each message or of the file; sqlite3 only.
        version: of the bag's metadata.
    """
    with_storage = StoragePlugin.SQLITE3 if storage == "sqlite3" else StoragePlugin.MCAP
    writer = BagWriter(folder, version=version, storage_plugin=with_storage)
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        connections: dict[tuple[str, str], Any] = {}
        for one in sent:
            if one.encoding != "cdr":
                continue
            if (one.topic, one.type) not in connections:
                connections[one.topic, one.type] = writer.add_connection(one.topic, one.type, typestore=types())
            writer.write(connections[one.topic, one.type], one.log_ns, one.data)
    return folder


def write_ros1_bag(file: Path, sent: Iterable[Sent]) -> Path:
    """Write a bag of ROS 1 of the messages whose types ROS 1 has by the same name."""
    store = get_typestore(Stores.ROS1_NOETIC)
    with Ros1Writer(file) as writer:
        connections: dict[tuple[str, str], Any] = {}
        for one in sent:
            if one.encoding != "cdr" or one.type not in store.types:
                continue
            if (one.topic, one.type) not in connections:
                connections[one.topic, one.type] = writer.add_connection(one.topic, one.type, typestore=store)
            ros1 = _as_ros1(store, types().deserialize_cdr(one.data, one.type), one.type)
            writer.write(connections[one.topic, one.type], one.log_ns, store.serialize_ros1(ros1, one.type))
    return file


def _as_ros1(store: Any, made: Any, name: str) -> Any:
    """The same message of ROS 1, whose headers count."""
    fields = {}
    for field, kind in store.fielddefs[name][1]:
        value = getattr(made, field, 0)
        fields[field] = _as_ros1(store, value, kind[1]) if kind[0] == Nodetype.NAME else value
    return store.types[name](**fields)
