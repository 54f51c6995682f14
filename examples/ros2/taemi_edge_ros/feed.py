"""Feeds a model with messages as they lie on the wire, and asks it for predictions. Knows nothing of rclpy.

Every message is placed by the stamp in its header, on the node's clock. A stamp that lies far from that clock says
nothing, as where a driver does not follow simulated time: such a message counts as measured when it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

import taemi_edge as te
from taemi_edge.errors import MessageError
from taemi_edge.media.hops import Frame
from taemi_edge.media.messages.readings import MessageType, PictureReading, Reading, RowReading, SoundReading
from taemi_edge.media.messages.stream_reader import StreamReader
from taemi_edge.media.messages.topic_field import TopicField, parse_topic_field

#: A stamp further than this from the node's clock is none.
MOST_AHEAD_S, MOST_BEHIND_S = 0.5, 10.0
#: Words without a length took about this long each.
_WORD_S = 0.3


class PushModel(Protocol):
    """As much of `taemi_edge.LoadedModel` as a feed uses."""

    @property
    def manifest(self) -> Any: ...

    def push(self, stream: str, data: Any, time_s: float) -> None: ...

    def hop(self, end_s: float) -> te.Prediction: ...

    def close(self) -> None: ...


def parse_streams(given: Sequence[str]) -> dict[str, TopicField]:
    """The topic and the fields of each stream, from "STREAM=TOPIC[.FIELD]" words.

    Raises:
        UsageError: a topic is none.
        ValueError: a word has no "=", or names a stream again.

    Example:
        >>> parse_streams(["eye=/camera/image_raw"])["eye"].topic
        '/camera/image_raw'
    """
    streams: dict[str, TopicField] = {}
    for word in given:
        name, equals, place = word.partition("=")
        if not (name and equals and place) or name in streams:
            raise ValueError(f"expected STREAM=TOPIC once for each stream, such as eye=/camera/image_raw, got {word!r}")
        streams[name] = parse_topic_field(place)
    return streams


class Feed:
    """A model, and what feeds its streams.

    Args:
        open_model: opens the model; called again when the clock goes back.
        streams: which topic feeds which stream.

    Attributes:
        model: the open model.
        left_out: how many messages of each stream could not be used.
        problems: why the last of them could not, by stream.

    Raises:
        ValueError: a stream that the model does not have.
    """

    def __init__(self, open_model: Callable[[], PushModel], streams: Mapping[str, TopicField]) -> None:
        self._open_model, self.streams = open_model, dict(streams)
        self.model = open_model()
        self._specs: Mapping[str, Any] = self.model.manifest.streams
        self._readers: dict[str, StreamReader] = {}
        self._last_ns: int | None = None
        self.left_out: Counter[str] = Counter()
        self.problems: dict[str, str] = {}
        if unknown := sorted(set(streams) - set(self._specs)):
            self.model.close()
            raise ValueError(f"expected streams among {', '.join(self._specs)}, got {unknown[0]!r}")

    def connect(self, stream: str, type_name: str, definition: bytes = b"") -> str:
        """Get ready for the messages of a stream.

        Args:
            stream: its name.
            type_name: of the messages, such as "sensor_msgs/msg/Image".
            definition: of a type that no library knows, as `ros2msg`.

        Returns:
            Which fields are read, in words.

        Raises:
            MessageError: such messages can never feed the stream.
        """
        encoding = "ros2msg" if definition else ""
        kind = MessageType(type_name, "cdr", definition, encoding)
        self._readers[stream] = StreamReader(self._specs[stream], kind, self.streams[stream].field)
        return self._readers[stream].what

    def take(self, stream: str, data: bytes, now_ns: int) -> None:
        """Push what a message holds; one that cannot be used is counted.

        Args:
            stream: its name; `connect` came before.
            data: the message in CDR.
            now_ns: the time of the node's clock.
        """
        self._follow(now_ns)
        try:
            for reading in self._readers[stream].read(data):
                time_s = _time_s(reading, now_ns)
                self.model.push(stream, _pushed(reading, time_s), time_s)
        except MessageError as error:
            self.left_out[stream] += 1
            self.problems[stream] = str(error)

    def predict(self, now_ns: int) -> te.Prediction | None:
        """The prediction of this moment; None where the clock stands still.

        A clock that went back begins anew: a simulation was reset, or a bag is played from its beginning.
        """
        self._follow(now_ns)
        if self._last_ns == now_ns:
            return None
        self._last_ns = now_ns
        return self.model.hop(now_ns / 1e9)

    def close(self) -> None:
        """Close the model."""
        self.model.close()

    def _follow(self, now_ns: int) -> None:
        """Where the clock went back, forget all that was pushed."""
        if self._last_ns is not None and now_ns < self._last_ns:
            self.model.close()
            self.model = self._open_model()
            self._last_ns = None


def _time_s(reading: Reading, now_ns: int) -> float:
    """When something was measured, in seconds of the node's clock; where a sound begins."""
    stamp_ns = reading.stamp_ns
    if stamp_ns is not None and -MOST_BEHIND_S * 1e9 <= stamp_ns - now_ns <= MOST_AHEAD_S * 1e9:
        return stamp_ns / 1e9
    lasts_s = len(reading.samples) / reading.rate_hz if isinstance(reading, SoundReading) else 0.0
    return now_ns / 1e9 - lasts_s


def _pushed(reading: Reading, time_s: float) -> Any:
    """What `push` takes of a reading."""
    if isinstance(reading, PictureReading):
        return [Frame(time_s, reading.picture)]
    if isinstance(reading, RowReading):
        return te.Samples(np.array([reading.values]), times_s=[time_s])
    if isinstance(reading, SoundReading):
        return te.Sound(reading.samples, reading.rate_hz, time_s)
    length_s = _WORD_S if reading.length_s is None else reading.length_s
    return [te.Word(time_s - length_s, time_s, reading.text)]
