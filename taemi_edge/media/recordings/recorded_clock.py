"""The clock of a recording: the stamps that senders wrote into their messages, or the times at which they were logged.

A stamp says when something was measured, and is the better time where it can be believed: where it is there, advances,
and agrees with the time at which the message was logged. Simulated time, a bag that was recorded while another was
played, and drivers that leave stamps at zero do not agree; then log times are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from taemi_edge.errors import OptionError, UsageError

#: What may be asked for: "auto" chooses.
Clock = Literal["auto", "header", "log"]
CLOCKS: tuple[Clock, ...] = ("auto", "header", "log")
#: Stamps that lie further than this from the log time are of another clock, or older than any window.
LARGEST_DIFFERENCE_S = 5.0
#: Words are recognised after they were said, and may be logged so much later.
LATEST_WORDS_S = 60.0
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
        spoken: the topics of words that say when they were spoken; these times are taken where they may be true.
        note: what was chosen, in a sentence.
    """

    stamped: frozenset[str] = frozenset()
    offset_ns: int = 0
    spoken: frozenset[str] = frozenset()
    note: str = ""

    def time_ns(self, topic: str, log_ns: int, stamp_ns: int | None) -> int:
        """The time of a message on this clock.

        >>> clock = ChosenClock(frozenset({"/imu"}))
        >>> clock.time_ns("/imu", 20, 15), clock.time_ns("/imu", 20, None), clock.time_ns("/talk", 20, 15)
        (15, 20, 20)
        """
        logged_ns = log_ns + self.offset_ns
        if stamp_ns is None:
            return logged_ns
        is_said = topic in self.spoken and abs(stamp_ns - logged_ns) <= LATEST_WORDS_S * _NS
        return stamp_ns if topic in self.stamped or is_said else logged_ns


def clock_named(text: str) -> Clock:
    """The clock of this name.

    Raises:
        OptionError: there is none.
    """
    for clock in CLOCKS:
        if text == clock:
            return clock
    raise OptionError("clock", "--clock", f"{text!r:.40}: expected header, log or auto")


def choose_clock(
    samples: Mapping[str, Sequence[Sample]], asked: Clock, spoken: frozenset[str] = frozenset()
) -> ChosenClock:
    """Choose between stamps and log times by the first messages of each topic.

    Args:
        samples: of each topic, in the order in which they were logged.
        asked: "header" and "log" settle it.
        spoken: the topics of words, which have no say in it.

    Raises:
        UsageError: stamps are asked for, and no topic has any.

    Example:
        >>> choose_clock({"/imu": [Sample(20, 15), Sample(30, 25)]}, "auto").stamped
        frozenset({'/imu'})
    """
    if asked == "log":
        return ChosenClock(note="log times are taken, as --clock log asks")
    of_others = {topic: found for topic, found in samples.items() if topic not in spoken and found}
    apart = {
        topic: [sample.stamp_ns - sample.log_ns for sample in found if sample.stamp_ns is not None]
        for topic, found in of_others.items()
    }
    stamped = {topic: found for topic, found in apart.items() if len(found) * 2 > len(of_others[topic])}
    if asked == "header":
        return _header_clock(of_others, stamped, spoken)
    doubts = {topic: why for topic, found in stamped.items() if (why := _doubt(of_others[topic], found))}
    if doubts:
        topic, why = next(iter(doubts.items()))
        note = f"log times are taken, since the stamps of {topic} {why} (--clock header takes the stamps)"
        return ChosenClock(spoken=spoken, note=note)
    if not stamped:
        return ChosenClock(spoken=spoken, note="log times are taken, since messages have no stamps")
    names = frozenset(stamped)
    note = f"stamps of headers are taken{_but(of_others, names)} (--clock log takes the times of logging)"
    return ChosenClock(names, spoken=spoken, note=note)


def _header_clock(
    samples: Mapping[str, Sequence[Sample]], stamped: Mapping[str, list[int]], spoken: frozenset[str]
) -> ChosenClock:
    if not stamped:
        raise UsageError("--clock header: expected messages with stamps, got none of any topic: take --clock log")
    middle = sorted(apart for of_topic in stamped.values() for apart in of_topic)
    offset_ns = middle[len(middle) // 2]
    if abs(offset_ns) <= LARGEST_DIFFERENCE_S * _NS:
        offset_ns = 0
    names = frozenset(stamped)
    note = f"stamps of headers are taken, as --clock header asks{_but(samples, names)}"
    return ChosenClock(names, offset_ns, spoken, note)


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
    return all(0 <= after - before <= MAX_LATE_S * _NS for before, after in pairwise(last))
