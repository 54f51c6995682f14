"""The clock of a recording: the stamps that senders wrote into their messages, or the times at which they were logged.

A stamp says when something was measured, and is the better time where it can be believed: where it is there, advances,
and agrees with the time at which the message was logged. Simulated time, a bag that was recorded while another was
played, and drivers that leave stamps at zero do not agree; then log times are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from taemi_edge.errors import OptionError, UsageError

#: What may be asked for: "auto" chooses.
Clock = Literal["auto", "header", "log"]
CLOCKS: tuple[Clock, ...] = ("auto", "header", "log")
#: Stamps that lie further than this from the log time are of another clock, or older than any window.
LARGEST_DIFFERENCE_S = 5.0
#: A time that leaps further ahead than this is damage, or a clock that was set.
MAX_JUMP_S = 3600.0
#: A stamp that goes back by more than this is no message that was late: the sender's clock began anew.
MAX_LATE_S = 10.0
#: So many messages in a row must leap before a leap is believed.
_BELIEVED_AFTER = 3
_NS = 1_000_000_000


@dataclass(frozen=True)
class Sample:
    """The times of a message: when it was logged, and its stamp; None where it has none, or one of zero."""

    log_ns: int
    stamp_ns: int | None


@dataclass(frozen=True)
class ChosenClock:
    """Which time each topic's messages have.

    Attributes:
        stamped: the topics whose stamps are taken; of all others it is the log time.
        offset_ns: how far the clock of the stamps lies before that of the log.
        note: what was chosen, in a sentence.
    """

    stamped: frozenset[str] = frozenset()
    offset_ns: int = 0
    note: str = ""

    def time_ns(self, topic: str, log_ns: int, stamp_ns: int | None) -> int:
        """The time of a message on this clock.

        >>> clock = ChosenClock(frozenset({"/imu"}))
        >>> clock.time_ns("/imu", 20, 15), clock.time_ns("/imu", 20, None), clock.time_ns("/talk", 20, 15)
        (15, 20, 20)
        """
        if stamp_ns is not None and topic in self.stamped:
            return stamp_ns
        return log_ns + self.offset_ns


def require_clock(clock: str) -> None:
    """Refuse what is no clock.

    Raises:
        OptionError: it is none of `CLOCKS`.
    """
    if clock not in CLOCKS:
        raise OptionError("clock", "--clock", f"{clock!r:.40}: expected header, log or auto")


def choose_clock(samples: Mapping[str, Sequence[Sample]], asked: Clock) -> ChosenClock:
    """Choose between stamps and log times by the first messages of each topic.

    Args:
        samples: of each topic, in the order in which they were logged.
        asked: "header" and "log" settle it.

    Raises:
        UsageError: stamps are asked for, and no topic has any.

    Example:
        >>> choose_clock({"/imu": [Sample(20, 15), Sample(30, 25)]}, "auto").stamped
        frozenset({'/imu'})
    """
    if asked == "log":
        return ChosenClock(note="log times are taken, as --clock log asks")
    found = {topic: [s.stamp_ns - s.log_ns for s in of_topic if s.stamp_ns is not None] for topic, of_topic in
             samples.items()}  # fmt: skip
    stamped = {topic: apart for topic, apart in found.items() if apart and len(apart) * 2 > len(samples[topic])}
    if asked == "header":
        return _header_clock(samples, stamped)
    doubts = {topic: why for topic, apart in stamped.items() if (why := _doubt(samples[topic], apart))}
    believed = frozenset(stamped.keys() - doubts.keys())
    if doubts:
        topic, why = next(iter(doubts.items()))
        note = f"log times are taken, since the stamps of {topic} {why} (--clock header takes the stamps)"
        return ChosenClock(note=note)
    if not believed:
        return ChosenClock(note="log times are taken, since messages have no stamps")
    return ChosenClock(believed, note=f"stamps of headers are taken{_but(samples, believed)} (--clock log takes the others)")


def _header_clock(samples: Mapping[str, Sequence[Sample]], stamped: Mapping[str, list[int]]) -> ChosenClock:
    if not stamped:
        raise UsageError("--clock header: expected messages with stamps, got none of any topic: take --clock log")
    middle = sorted(apart for of_topic in stamped.values() for apart in of_topic)
    offset_ns = middle[len(middle) // 2]
    if abs(offset_ns) <= LARGEST_DIFFERENCE_S * _NS:
        offset_ns = 0
    names = frozenset(stamped)
    return ChosenClock(names, offset_ns, f"stamps of headers are taken, as --clock header asks{_but(samples, names)}")


def _but(samples: Mapping[str, Sequence[Sample]], stamped: frozenset[str]) -> str:
    others = sorted(topic for topic in samples if topic not in stamped)
    return f", and log times of {', '.join(others)}" if others else ""


def _doubt(samples: Sequence[Sample], apart_ns: list[int]) -> str:
    """Why the stamps of a topic are not believed; empty where they are."""
    largest_ns = max(apart_ns, key=abs)
    if abs(largest_ns) > LARGEST_DIFFERENCE_S * _NS:
        side = "before" if largest_ns < 0 else "after"
        return f"lie {abs(largest_ns) / _NS:.6g} s {side} the times at which they were logged"
    stamps = [sample.stamp_ns for sample in samples if sample.stamp_ns is not None]
    logged_ns = samples[-1].log_ns - samples[0].log_ns
    if len(stamps) > 2 and logged_ns > 0 and len(set(stamps)) == 1:
        return "do not advance"
    return ""


@dataclass
class LeapWatch:
    """Follows the times of one topic, and says which are damage and where a clock was set.

    Attributes:
        newest_ns: the newest time so far, after corrections; None before the first.
        moved_ns: how far times are moved, since the clock was set.
        left_out: how many times were no times of this recording.

    Example:
        >>> watch = LeapWatch()
        >>> [watch.place(t * 10**9) for t in (1, 2, 10**6, 3)]
        [1000000000, 2000000000, None, 3000000000]
    """

    newest_ns: int | None = None
    moved_ns: int = 0
    left_out: int = 0
    _leaping: list[int] = field(default_factory=list)

    def place(self, time_ns: int) -> int | None:
        """A time, moved where the clock was set; None for one that leaps, until others confirm the leap."""
        moved_ns = time_ns + self.moved_ns
        if self.newest_ns is None or -MAX_LATE_S * _NS <= moved_ns - self.newest_ns <= MAX_JUMP_S * _NS:
            self._leaping.clear()
            self.newest_ns = moved_ns if self.newest_ns is None else max(moved_ns, self.newest_ns)
            return moved_ns
        self._leaping.append(time_ns)
        if len(self._leaping) < _BELIEVED_AFTER or not _advances(self._leaping):
            self.left_out += 1
            return None
        self._leaping.clear()
        return self.go_on_at(time_ns, self.newest_ns)

    def go_on_at(self, time_ns: int, at_ns: int) -> int:
        """Take a time for the moment `at_ns`, and those after it for what follows."""
        self.moved_ns = at_ns - time_ns
        self.newest_ns = at_ns
        return at_ns


def _advances(times_ns: Sequence[int]) -> bool:
    """Whether the last times follow each other as those of one clock do."""
    last = times_ns[-_BELIEVED_AFTER:]
    return all(0 <= after - before <= MAX_LATE_S * _NS for before, after in zip(last, last[1:]))
