"""Reads recordings back with the libraries of others: `mcap` for the file, `protobuf` for Foxglove's messages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec
from taemi_edge.bundle.spec import WindowSpec
from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.live.outputs.channels.described_run import DescribedRun
from taemi_edge.live.outputs.output import HopResult
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.presence import State
from taemi_edge.runtime.window import Source

START_NS = 1_800_000_000_123_456_789


@dataclass(frozen=True)
class Said:
    """A message of a recording, decoded."""

    topic: str
    type: str
    log_ns: int
    message: Any
    metadata: dict[str, str]


@dataclass(frozen=True)
class Read:
    """A recording as it was read back."""

    said: list[Said]
    metadata: dict[str, str]

    def of(self, topic: str) -> list[Any]:
        """The messages of a topic."""
        return [said.message for said in self.said if said.topic == topic]

    @property
    def topics(self) -> dict[str, str]:
        """The type of each topic."""
        return {said.topic: said.type for said in self.said}


@cache
def message_class(name: str, schema: bytes) -> Any:
    """The class of a protobuf message, from the schema that a recording or a server gives."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(schema).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(name))


def decoded(encoding: str, name: str, schema: bytes, data: bytes) -> Any:
    """A message, as JSON or protobuf say it."""
    return json.loads(data) if encoding == "json" else message_class(name, schema).FromString(data)


def read(file: Path, whole: bool = True) -> Read:
    """Read a recording; one that was cut off is read from its beginning, as far as it goes."""
    from mcap.exceptions import EndOfFile
    from mcap.reader import NonSeekingReader, make_reader

    said: list[Said] = []
    with file.open("rb") as stream:
        reader = make_reader(stream) if whole else NonSeekingReader(stream)
        metadata: dict[str, str] = {}
        if whole:
            metadata = next(record.metadata for record in reader.iter_metadata() if record.name == "taemi-edge")
        try:
            for schema, channel, message in reader.iter_messages(log_time_order=whole):
                content = decoded(channel.message_encoding, schema.name, schema.data, message.data)
                said.append(Said(channel.topic, schema.name, message.log_time, content, dict(channel.metadata)))
        except EndOfFile:
            assert not whole
    return Read(said, metadata)


def ns_of(stamp: Any) -> int:
    """Nanoseconds of a time as JSON or protobuf say it."""
    if isinstance(stamp, dict):
        return int(stamp["sec"]) * 10**9 + int(stamp["nsec"])
    return int(stamp.seconds) * 10**9 + int(stamp.nanos)


def manifest_of(**streams: StreamSpec) -> Any:
    """As much of a manifest as a recording says, of a model that nobody exported."""
    mood = RegressionSpec(names=("x", "most of all"), range=(0.0, 1.0))
    return SimpleNamespace(
        name="any",
        streams=streams,
        outputs={"mood": mood, "state": ClassesSpec(names=("open", "shut"))},
        part_names=(*streams, "fusion"),
        window=WindowSpec(length_s=2.0, hop_s=0.5),
        synthetic=False,
        trained_on="",
    )


def described(manifest: Any, *sources: Source, live: bool = True) -> DescribedRun:
    """A run of it."""
    return DescribedRun(manifest, "abc", 2.0, 0.5, sources, START_NS, live)


def result_of(manifest: Any, hop: Hop, source: str = "door", missing: bool = False, **more: Any) -> HopResult:
    """A hop with a prediction of two numbers and two classes."""
    state: State = "missing" if missing else "live"
    outputs: dict[str, Any] = {
        "mood": {"x": 0.25, "most of all": 0.5},
        "state": {"best": "shut", "probabilities": {"open": 0.25, "shut": 0.75}},
    }
    prediction = Prediction(
        source=source,
        time_s=hop.end_s,
        window_s=(0.0, hop.end_s),
        outputs=dict.fromkeys(outputs) if missing else outputs,
        presence=dict.fromkeys(manifest.streams, state),
        age_ms=dict.fromkeys(manifest.streams, None if missing else 20.0),
        latency_ms={**dict.fromkeys(manifest.streams, 1.0), "fusion": None, "total": 2.0},
        reason=dict.fromkeys(manifest.streams, "nothing came") if missing else {},
        status="no prediction" if missing else "ok",
    )
    return HopResult(hop, prediction, **more)


def picture(number: int = 0, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A picture that differs from others and is soft enough for any codec."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    planes = [(rows * 3 + 8 * number) % 256, (columns * 2) % 256, np.full(size_hw, 90)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def hops_again(recording: Read, level: str) -> list[Hop]:
    """The hops of a source as they were, from what a recording without loss holds."""
    inputs: dict[str, list[Any]] = {}
    hops = []
    for said in recording.said:
        prefix, _, name = said.topic.rpartition("/")
        if prefix == f"/{level}/inputs":
            inputs.setdefault(name, []).append(said.message)
        elif said.topic == f"/{level}/hop":
            hops.append(_hop_again(said.message, inputs))
            assert not any(inputs.values())
    return hops


def _hop_again(said: Any, inputs: dict[str, list[Any]]) -> Hop:
    pieces: dict[str, list[Any]] = {}
    for stream, times in said["pieces"].items():
        waiting = inputs.get(stream, [])
        first = waiting[0] if waiting else None
        if not isinstance(first, dict):  # pictures and sound: each has its time
            pieces[stream] = [_piece_again(time_s, waiting.pop(0)) for time_s in times if waiting]
            continue
        taken, waiting[: int(times[0])] = waiting[: int(times[0])], []
        if taken and "text" in first:
            pieces[stream] = [Word(word["start_s"], word["end_s"], word["text"]) for word in taken]
        elif taken:
            rows = np.array([row["values"] for row in taken], np.float32)
            pieces[stream] = [Values(np.array([row["time_s"] for row in taken]), rows)]
    return Hop(said["time_s"], pieces, said["faults"], said["losses"], said["frames_share"])


def _piece_again(time_s: float, message: Any) -> Frame | SoundPiece:
    if message.DESCRIPTOR.name == "RawAudio":
        return SoundPiece(time_s, np.frombuffer(message.data, "<f4"))
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    return Frame(time_s, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
