"""The clock of a recording: the stamps that senders wrote into their messages, or the times at which they were logged.

A stamp says when something was measured, and is the better time where it can be believed: where it is there, advances,
and agrees with the time at which the message was logged. Simulated time, a bag that was recorded while another was
played, and drivers that leave stamps at zero do not agree; then log times are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from taemi_edge.errors import OptionError, UsageError, expected_one_of

#: What may be asked for: "auto" chooses.
Clock = Literal["auto", "header", "log"]
CLOCKS: tuple[Clock, ...] = ("auto", "header", "log")
#: Stamps that lie further than this from the log time are of another clock, or older than any window.
LARGEST_DIFFERENCE_S = 5.0
#: Nothing is logged before it was stamped: a stamp further ahead than usual, by this much, is none.
MOST_AHEAD_S = 1.0
#: Words are recognised after they were said, and may be logged so much later.
LATEST_WORDS_S = 60.0
#: A time that leaps further ahead than this is damage, or a clock that was set.
MAX_JUMP_S = 3600.0
#: A stamp that goes back by more than this is no message that was late: the sender's clock began anew.
MAX_LATE_S = 2.0
#: For so long a topic must leap before a clock counts as set, and no simulation runs so many times as fast as time.
_BELIEVED_AFTER_S, _FASTEST = 0.5, 20
_NS = 1_000_000_000


@dataclass(frozen=True)
class Sample:
    """The times of a message.

    Attributes:
        log_ns: when it was logged.
        stamp_ns: its stamp; None where it has none, or one of zero.
        length_ns: how long what it holds took, until it was logged.
    """

    log_ns: int
    stamp_ns: int | None
    length_ns: int = 0


@dataclass(frozen=True)
class ChosenClock:
    """Which time each topic's messages have.

    Attributes:
        stamped: the topics whose stamps are taken; of all others it is the log time.
        offset_ns: how far the clock of the stamps lies before that of the log.
        spoken: the topics of words that say when they were spoken; these times are taken where they may be true.
        agrees: whether stamps and log times pass alike; where stamps were asked for, nobody knows.
        ahead_ns: how far the stamps of topics lie after the times of logging, at most, as far as that is known.
        late_ns: how long after their stamps messages were logged, at most, as far as that is known.
        note: what was chosen, in a sentence.
        simulated: whether log times are those of a simulation (`taemi_edge.media.recordings.simulated_time`).
    """

    stamped: frozenset[str] = frozenset()
    offset_ns: int = 0
    spoken: frozenset[str] = frozenset()
    agrees: bool = True
    ahead_ns: Mapping[str, int] = field(default_factory=dict)
    late_ns: int = 0
    note: str = ""
    simulated: bool = False

    def time_ns(self, topic: str, log_ns: int, stamp_ns: int | None) -> int:
        """The time of a message on this clock.

        >>> clock = ChosenClock(frozenset({"/imu"}))
        >>> clock.time_ns("/imu", 20, 15), clock.time_ns("/imu", 20, None), clock.time_ns("/talk", 20, 15)
        (15, 20, 20)
        """
        logged_ns = log_ns + self.offset_ns
        if stamp_ns is None:
            return logged_ns
        if topic in self.stamped and self.agrees:
            apart_ns = stamp_ns - log_ns
            is_ahead = apart_ns > self.ahead_ns.get(topic, 0) + MOST_AHEAD_S * _NS
            if is_ahead or apart_ns < -LARGEST_DIFFERENCE_S * _NS:
                return logged_ns  # it is damaged, or the sender's clock was set on the way
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
    raise OptionError("clock", "--clock", expected_one_of(CLOCKS, text))


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
    if asked == "header":
        return _header_clock(of_others, {topic: found for topic, found in apart.items() if found}, spoken)
    stamped = {topic: found for topic, found in apart.items() if len(found) * 2 > len(of_others[topic])}
    doubts = {topic: why for topic, found in stamped.items() if (why := _doubt(of_others[topic], found))}
    if doubts:
        topic, why = next(iter(doubts.items()))
        note = f"log times are taken, since the stamps of {topic} {why} (--clock header takes the stamps)"
        return ChosenClock(spoken=spoken, note=note)
    if not stamped:
        return ChosenClock(spoken=spoken, note="log times are taken, since messages have no stamps")
    names = frozenset(stamped)
    note = f"stamps of headers are taken{_but(of_others, names)} (--clock log takes the times of logging)"
    ahead_ns = {topic: max(found) for topic, found in stamped.items()}
    late_ns = max(0, -min(apart_ns for found in stamped.values() for apart_ns in found))
    return ChosenClock(names, spoken=spoken, ahead_ns=ahead_ns, late_ns=late_ns, note=note)


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
    late_ns = min(max(0, offset_ns - middle[0]), round(LARGEST_DIFFERENCE_S * _NS))
    return ChosenClock(names, offset_ns, spoken, agrees=False, late_ns=late_ns, note=note)


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


class Timeline:
    """Follows the times of topics on one clock, and goes on where that clock was set.

    A time that leaps is left out until others of its topic confirm the leap. What comes then goes on where everything
    had got to, and the other topics follow at once.

    Attributes:
        left_out: how many times were no times of this recording.

    Example:
        >>> timeline, second = Timeline(), 10**9
        >>> [timeline.place("/imu", t * second, t * second) for t in (1, 2, 10**6, 3)]
        [1000000000, 2000000000, None, 3000000000]
    """

    def __init__(self) -> None:
        self._topics: dict[str, _Followed] = {}
        self._newest_ns, self._moved_ns = 0, 0
        self.left_out, self.set_at_ns = 0, list[int]()

    def moved_ns(self, topic: str) -> int:
        """How far the times of a topic are moved, since the clock was set."""
        return self._topics[topic].moved_ns if topic in self._topics else self._moved_ns

    def place(self, topic: str, time_ns: int, log_ns: int) -> int | None:
        """The time of a message, moved where the clock was set; None for one that leaps and is not confirmed.

        Args:
            time_ns: on the chosen clock.
            log_ns: when it was logged.
        """
        followed = self._topics.setdefault(topic, _Followed(moved_ns=self._moved_ns))
        for moved_ns in (followed.moved_ns, self._moved_ns):
            if followed.fits(time_ns + moved_ns):
                followed.moved_ns = moved_ns
                return self._accepted(followed, time_ns)
        if not followed.confirms(time_ns, log_ns):
            self.left_out += 1
            return None
        self._moved_ns = followed.moved_ns = self._newest_ns - time_ns
        self.set_at_ns.append(self._newest_ns)
        return self._accepted(followed, time_ns)

    def _accepted(self, followed: _Followed, time_ns: int) -> int:
        placed_ns = time_ns + followed.moved_ns
        followed.leaping.clear()
        followed.newest_ns = placed_ns if followed.newest_ns is None else max(placed_ns, followed.newest_ns)
        self._newest_ns = max(self._newest_ns, placed_ns)
        return placed_ns


@dataclass
class _Followed:
    """The times of one topic: the newest, how far they are moved, and those that leap, each with its log time."""

    newest_ns: int | None = None
    moved_ns: int = 0
    leaping: list[tuple[int, int]] = field(default_factory=list)

    def fits(self, placed_ns: int) -> bool:
        """Whether a time may follow the newest one: a little late, or after a pause."""
        return self.newest_ns is None or -MAX_LATE_S * _NS <= placed_ns - self.newest_ns <= MAX_JUMP_S * _NS

    def confirms(self, time_ns: int, log_ns: int) -> bool:
        """Whether those that leap belong to a clock that was set: they advance as time passes.

        Messages that were held up and came in a burst advance much faster.
        """
        if self.leaping and not 0 <= time_ns - self.leaping[-1][0] <= MAX_JUMP_S * _NS:
            self.leaping.clear()
        self.leaping.append((time_ns, log_ns))
        (first_ns, first_log_ns) = self.leaping[0]
        passed_ns = log_ns - first_log_ns
        if len(self.leaping) > 2:
            del self.leaping[1:-1]
        return passed_ns >= _BELIEVED_AFTER_S * _NS and time_ns - first_ns <= _FASTEST * passed_ns
