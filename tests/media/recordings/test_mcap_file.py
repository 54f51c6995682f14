"""MCAP files: whole ones, those that were cut off or damaged, and those whose index lies."""

from __future__ import annotations

import struct
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")
from mcap.writer import Writer

from taemi_edge.errors import InputError
from taemi_edge.media.recordings import mcap_records
from taemi_edge.media.recordings.mcap_file import McapFile
from taemi_edge.media.recordings.mcap_records import CHUNK, MAGIC, MOST_CHUNK_BYTES, PREFIX, walk
from tests.robots.drives import Compression, open_writer

START_NS = 10**18


def write(
    file: Path, times: list[tuple[str, int]], compression: Compression = "zstd", index: bool = True, chunk: int = 4000
) -> bytes:
    """Write messages of 300 bytes each: the topic and the milliseconds of each."""
    with file.open("wb") as stream:
        writer = open_writer(stream, compression, chunk, index)
        writer.start("ros2", "tests")
        schema = writer.register_schema("my/msg/Thing", "ros2msg", b"float64 x")
        channels: dict[str, int] = {}
        for at, (topic, ms) in enumerate(times):
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", schema, {"of": topic})
            data = struct.pack("<i", at) * 75
            log_ns = START_NS + ms * 10**6
            writer.add_message(channels[topic], log_ns, data, log_ns, at)
        writer.add_metadata("drive", {"robot": "7"})
        writer.finish()
    return file.read_bytes()


def mixed(count: int = 200) -> list[tuple[str, int]]:
    """Two topics by turns, the second every tenth message."""
    return [("/camera" if at % 10 == 0 else "/imu", at * 5) for at in range(count)]


def read(file: Path, topics: tuple[str, ...] = ("/imu", "/camera"), **limits: Any) -> tuple[list[int], list[str]]:
    """The numbers of the messages in the order in which they come, and the notes."""
    with McapFile(file) as recording:
        found = [struct.unpack_from("<i", message.data)[0] for message in recording.messages(topics, **limits)]
        return found, recording.notes


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none", None])
@pytest.mark.parametrize("index", [True, False])
def test_whole_files_give_everything_in_order(tmp_path: Path, compression: str | None, index: bool) -> None:
    write(tmp_path / "a.mcap", mixed(), compression, index)
    with McapFile(tmp_path / "a.mcap") as recording:
        assert {name: topic.count for name, topic in recording.topics.items()} == {"/imu": 180, "/camera": 20}
        assert (recording.start_ns, recording.end_ns) == (START_NS, START_NS + 995 * 10**6)
        assert recording.metadata == {"drive": {"robot": "7"}}
        assert recording.topics["/imu"].metadata == {"of": "/imu"}
        assert recording.topics["/imu"].type.name == "my/msg/Thing"
        assert recording.topics["/imu"].type.schema == b"float64 x"
    assert read(tmp_path / "a.mcap") == (list(range(200)), [])
    assert read(tmp_path / "a.mcap", ("/camera",)) == (list(range(0, 200, 10)), [])
    limits: dict[str, Any] = {"start_ns": START_NS + 50 * 10**6, "end_ns": START_NS + 100 * 10**6}
    assert read(tmp_path / "a.mcap", **limits)[0] == list(range(10, 20))


@pytest.mark.parametrize("compression", ["zstd", None])
def test_topics_that_were_written_one_after_the_other_come_by_their_log_times(
    tmp_path: Path, compression: str | None
) -> None:
    order = [("/imu", ms) for ms in range(0, 1000, 5)] + [("/camera", ms) for ms in range(2, 1000, 50)]
    write(tmp_path / "a.mcap", order, compression)
    with McapFile(tmp_path / "a.mcap") as recording:
        times = [message.log_ns for message in recording.messages(["/imu", "/camera"])]
    assert times == sorted(times)
    assert len(times) == 220


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none", None])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
def test_a_file_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path, compression: str | None, share: float) -> None:
    data = write(tmp_path / "a.mcap", mixed(), compression)
    end_of_data = data.rindex(b"drive") if compression is None else len(data)
    cut = int(end_of_data * share)
    (tmp_path / "cut.mcap").write_bytes(data[:cut])
    found, notes = read(tmp_path / "cut.mcap")
    assert found == list(range(len(found)))
    if compression in (None, "none"):
        assert len(found) > 200 * share * 0.85 - 15
    assert len(notes) == 1
    assert "was cut off" in notes[0]


def test_the_last_chunk_of_a_cut_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    for compression in ("zstd", "lz4", "none"):  # few bytes are one block of lz4 and zstd, of which nothing is left
        data = write(tmp_path / "a.mcap", mixed(60), compression, chunk=1 << 20)  # one chunk
        (tmp_path / "a.mcap").write_bytes(data[: len(data) * 2 // 3])
        found, notes = read(tmp_path / "a.mcap")
        assert found == list(range(len(found)))
        assert compression != "none" or "as far as that chunk can be unpacked" in notes[0]
        assert compression != "none" or len(found) > 20


def test_a_damaged_chunk_costs_that_chunk_alone(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.mcap", mixed(), "none"))
    at = data.index(struct.pack("<i", 100) * 75)
    data[at] ^= 0xFF
    (tmp_path / "a.mcap").write_bytes(data)
    found, notes = read(tmp_path / "a.mcap")
    assert 180 <= len(found) < 200
    assert 100 not in found
    assert found[-1] == 199
    assert "is left out: the bytes of a chunk are not those that its checksum was made of" in notes[0]


def test_a_length_that_lies_is_passed_where_the_index_says_how(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.mcap", mixed(), "none"))
    with McapFile(tmp_path / "a.mcap") as recording:
        third = recording._pieces[2]
    data[third.offset - 8 : third.offset] = struct.pack("<Q", 1 << 60)
    (tmp_path / "a.mcap").write_bytes(data)
    found, notes = read(tmp_path / "a.mcap")
    assert found[-1] == 199
    assert len(found) > 180
    assert "is damaged at byte" in notes[0]


def _lie(data: bytes, opcode: int, at: int, value: int) -> bytes:
    """A copy in which a number of 8 bytes of the first record of a kind in the summary is another."""
    lying = bytearray(data)
    start = struct.unpack_from("<Q", data, len(data) - 28)[0]
    while lying[start] != opcode:
        start += 9 + struct.unpack_from("<Q", lying, start + 1)[0]
    struct.pack_into("<Q", lying, start + 9 + at, value)
    return bytes(lying)


@pytest.mark.parametrize(
    ("opcode", "at"),
    [(mcap_records.CHUNK_INDEX, 16), (mcap_records.STATISTICS, 46)],
    ids=["where a chunk lies", "how many messages a channel has"],
)
def test_an_index_that_lies_is_not_believed(tmp_path: Path, opcode: int, at: int) -> None:
    data = write(tmp_path / "a.mcap", mixed())
    (tmp_path / "a.mcap").write_bytes(_lie(data, opcode, at, 12_345))
    with McapFile(tmp_path / "a.mcap") as recording:
        assert {name: topic.count for name, topic in recording.topics.items()} == {"/imu": 180, "/camera": 20}
        assert ["its index does not fit its content" in note for note in recording.notes] == [True]
    assert read(tmp_path / "a.mcap", ("/camera",))[0] == list(range(0, 200, 10))


def test_chunks_of_an_index_that_all_lie_are_passed_quickly(tmp_path: Path) -> None:
    lies = BytesIO(b"\xff" * (1 << 21))  # at each byte a record that is longer than the file
    began_s = time.monotonic()
    layout = walk(lies, 1 << 21, list(range(8, 200_000)))
    assert (layout.pieces, layout.readable_until) == ([], 8)
    assert time.monotonic() - began_s < 60  # it took ten minutes when each was looked for among all others


def test_what_a_cut_chunk_claims_is_not_taken_into_memory() -> None:
    content = MAGIC + PREFIX.pack(CHUNK, 1 << 62) + bytes(64)
    (piece,) = walk(BytesIO(content), 1 << 40, []).pieces
    assert (piece.is_whole, piece.length) == (False, MOST_CHUNK_BYTES)


def test_an_index_that_lies_nowhere_is_done_without(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.mcap", mixed()))
    struct.pack_into("<Q", data, len(data) - 28, 1 << 50)
    (tmp_path / "a.mcap").write_bytes(data)
    assert read(tmp_path / "a.mcap")[0] == list(range(200))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_chunk_that_claims_to_be_huge_is_left_out(tmp_path: Path, compression: str) -> None:
    data = bytearray(write(tmp_path / "a.mcap", mixed(), compression))
    with McapFile(tmp_path / "a.mcap") as recording:
        first = recording._pieces[0]
    struct.pack_into("<Q", data, first.offset + 16, 1 << 45)
    (tmp_path / "a.mcap").write_bytes(data)
    found, notes = read(tmp_path / "a.mcap")
    assert 0 < len(found) < 200
    assert "claims 35,184,372,088,832 bytes" in notes[0]


def test_two_writers_of_one_topic_keep_their_types(tmp_path: Path) -> None:
    with (tmp_path / "a.mcap").open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        kinds = [writer.register_schema(name, "ros2msg", b"float64 x") for name in ("a/msg/A", "b/msg/B")]
        for at, schema in enumerate(kinds):
            channel = writer.register_channel("/thing", "cdr", schema)
            writer.add_message(channel, START_NS + at, b"x", START_NS)
        writer.finish()
    with McapFile(tmp_path / "a.mcap") as recording:
        assert (recording.topics["/thing"].type.name, recording.topics["/thing"].count) == ("a/msg/A", 2)
        first, second = recording.messages(["/thing"])
        assert first.type is None
        assert second.type is not None
        assert second.type.name == "b/msg/B"


@pytest.mark.parametrize("content", [b"", b"abc", mcap_records.MAGIC, mcap_records.MAGIC * 2, b"\0" * 100])
def test_what_is_no_mcap_file_is_refused_or_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    if content.startswith(mcap_records.MAGIC):
        with McapFile(tmp_path / "a.mcap") as recording:
            assert recording.topics == {}
            assert recording.notes
        return
    with pytest.raises(InputError, match="expected an MCAP file, got"):
        McapFile(tmp_path / "a.mcap")


def test_unknown_encodings_are_the_problem_of_their_topic(tmp_path: Path) -> None:
    with (tmp_path / "a.mcap").open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("Pose", "flatbuffer", b"x")
        channel = writer.register_channel("/pose", "flatbuffer", schema)
        writer.add_message(channel, START_NS, b"x", START_NS)
        writer.finish()
    with McapFile(tmp_path / "a.mcap") as recording:
        assert "written as 'flatbuffer'" in (recording.topics["/pose"].problem or "")
