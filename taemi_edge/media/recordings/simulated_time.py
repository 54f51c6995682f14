"""Recordings that were made while time was simulated: their messages get the time of the simulation.

A simulation, and `ros2 bag play --clock`, publish the time that they have reached on `/clock`. It may run at any rate,
stand still and begin anew, while the recorder logs on the clock of its machine. Where the recording holds `/clock`, the
log time of every message becomes the simulated time at which it was logged. Stamps of headers, which are on that clock,
then agree with the log; messages without a stamp keep their places between the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from types import TracebackType

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.decoders import open_decoder
from taemi_edge.media.messages.definitions import ros_name
from taemi_edge.media.messages.readings import MessageType
from taemi_edge.media.messages.topic_field import Path as FieldPath
from taemi_edge.media.recordings.recorded_clock import ChosenClock, Clock
from taemi_edge.media.recordings.recording import RecordedMessage, Recording, Topic

_CLOCK = "rosgraph_msgs/msg/Clock"
#: In ROS 2 and in ROS 1.
_PATHS: tuple[tuple[FieldPath, FieldPath], ...] = (
    (("clock", "sec"), ("clock", "nanosec")),
    (("clock", "secs"), ("clock", "nsecs")),
)
_NS = 1_000_000_000
#: Time goes on between two ticks as between the two before, but not for longer than so many of their distances.
_MOST_TICKS = 2
#: Ticks of so long at the end of a log tell when the simulation ended.
_LAST_NS = 5 * _NS
#: No simulation runs so many times as fast as time.
_FASTEST = 30.0


def on_simulated_time(recording: Recording) -> Recording:
    """The recording on the time of its `/clock`; the recording itself where it holds none that advances."""
    for topic in recording.topics.values():
        if ros_name(topic.type.name) == _CLOCK and topic.problem is None and topic.count != 0:
            simulated = SimulatedRecording(recording, topic)
            if simulated.advances:
                return simulated
    return recording


def on_time_of(recording: Recording, clock: Clock | ChosenClock) -> Recording:
    """The recording on the time that a clock goes by: of the simulation where it holds one, unless log times are asked.

    Args:
        recording: any.
        clock: what is asked for, or what was chosen for another part of the recording.
    """
    simulated = clock.simulated if isinstance(clock, ChosenClock) else clock != "log"
    return on_simulated_time(recording) if simulated else recording


def marked(recording: Recording, clock: ChosenClock) -> ChosenClock:
    """The clock that was chosen for a recording, which says so where that is on simulated time."""
    if not isinstance(recording, SimulatedRecording):
        return clock
    note = f"the recording is on the simulated time of its /clock; {clock.note}"
    return replace(clock, simulated=True, note=note)


class SimulatedTime:
    """The simulated time of moments of the log, by the ticks that were logged before them.

    Example:
        >>> time = SimulatedTime()
        >>> for log_ns, tick_ns in ((1000, 50), (1010, 55)):
        ...     time.tick(log_ns, tick_ns)
        >>> time.at_ns(1016), time.at_ns(9000)
        (58, 65)
    """

    def __init__(self) -> None:
        self._log_ns = self._tick_ns = self._every_ns = 0
        self._rate = 1.0
        self._ticks = 0

    def tick(self, log_ns: int, tick_ns: int) -> None:
        """Note a tick."""
        passed_ns = log_ns - self._log_ns
        if self._ticks and passed_ns <= 0 and tick_ns <= self._tick_ns:
            return
        if self._ticks and passed_ns > 0 and tick_ns >= self._tick_ns:
            self._rate, self._every_ns = min(_FASTEST, (tick_ns - self._tick_ns) / passed_ns), passed_ns
        self._log_ns, self._tick_ns = log_ns, tick_ns
        self._ticks += 1

    def at_ns(self, log_ns: int) -> int:
        """The simulated time at which something was logged that comes after the last tick."""
        passed_ns = min(log_ns - self._log_ns, _MOST_TICKS * self._every_ns)
        return self._tick_ns + round(passed_ns * self._rate)


class SimulatedRecording:
    """A recording whose log times are those of a simulation; see `taemi_edge.media.recordings.recording.Recording`.

    Args:
        recording: the recording, which is closed with this one.
        clock: the topic with the ticks.

    Attributes:
        advances: whether the simulated time ever goes on.
    """

    def __init__(self, recording: Recording, clock: Topic) -> None:
        self._recording, self._clock = recording, clock
        self.path, self.topics, self.notes = recording.path, recording.topics, recording.notes
        self.metadata = recording.metadata
        self._decoders = {clock.type: _Ticks(clock.type)}
        self._first: list[tuple[int, int]] = []
        for message in recording.messages({clock.name}):
            tick_ns = self._tick_ns(message)
            if tick_ns is not None and (not self._first or tick_ns > self._first[0][1]):
                self._first.append((message.log_ns, tick_ns))
            if len(self._first) == 2:
                break
        self.advances = len(self._first) == 2
        self.start_ns, self.end_ns = self._range_ns() if self.advances else (None, None)

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[RecordedMessage]:
        time = SimulatedTime()
        for log_ns, tick_ns in self._first:
            time.tick(log_ns, tick_ns)
        first_ns = self._first[0][0]
        for message in self._recording.messages({*topics, self._clock.name}):
            told_ns = self._tick_ns(message) if message.topic == self._clock.name else None
            if told_ns is not None:
                time.tick(message.log_ns, told_ns)
            at_ns = time.at_ns(message.log_ns) if message.log_ns >= first_ns else self._before_ns(message.log_ns)
            wanted = (start_ns is None or at_ns >= start_ns) and (end_ns is None or at_ns < end_ns)
            if wanted and message.topic in topics:
                yield replace(message, log_ns=at_ns)

    def _range_ns(self) -> tuple[int | None, int | None]:
        """The simulated times at which the log begins and ends, as far as its last ticks tell."""
        start_ns, end_ns = self._recording.start_ns, self._recording.end_ns
        if start_ns is None or end_ns is None:
            return None, None
        (first_ns, tick_ns), (second_ns, next_ns) = self._first
        time = SimulatedTime()
        time.tick(first_ns, tick_ns)
        time.tick(second_ns, next_ns)
        lasts_ns = time.at_ns(second_ns) - tick_ns
        begins_ns = self._before_ns(start_ns) if start_ns < first_ns else tick_ns
        for message in self._recording.messages({self._clock.name}, max(start_ns, end_ns - _LAST_NS)):
            last_ns = self._tick_ns(message)
            if last_ns is not None and message.log_ns > second_ns:
                time.tick(message.log_ns, last_ns)
        ends_ns = time.at_ns(end_ns)
        if ends_ns <= begins_ns:  # it began anew on the way
            ends_ns = begins_ns + round((end_ns - start_ns) * lasts_ns / max(1, second_ns - first_ns))
        return begins_ns, ends_ns + 1

    def _before_ns(self, log_ns: int) -> int:
        """The simulated time of what was logged before the first tick."""
        (first_ns, tick_ns), (second_ns, next_ns) = self._first
        rate = (next_ns - tick_ns) / max(1, second_ns - first_ns)
        return max(0, tick_ns - round((first_ns - log_ns) * min(rate, _FASTEST)))

    def _tick_ns(self, message: RecordedMessage) -> int | None:
        kind = message.type or self._clock.type
        ticks = self._decoders.get(kind)
        if ticks is None:
            ticks = self._decoders[kind] = _Ticks(kind)
        return ticks.of(message.data)

    def close(self) -> None:
        self._recording.close()

    def __enter__(self) -> SimulatedRecording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Ticks:
    """Reads the time in messages of one type."""

    def __init__(self, kind: MessageType) -> None:
        self._decoder = None
        for paths in _PATHS:
            try:
                self._decoder = open_decoder(kind, paths)
                return
            except MessageError:
                continue

    def of(self, data: bytes) -> int | None:
        """The time in nanoseconds; None where the message cannot be read, or has none."""
        if self._decoder is None:
            return None
        try:
            sec, nanosec = self._decoder.values(data)
        except MessageError:
            return None
        return int(sec) * _NS + int(nanosec)
