"""Chooses which of two times places a message: when its content was measured, or when it was sent.

The header's stamp says when a picture was taken or an IMU was read, so it is the better one. But it may be on simulated
time, which runs at another speed than the clock and stands still when the simulator does. Then the time at which the
message was sent is right, which is always on the clock of the publisher's machine.
"""

from __future__ import annotations

import logging

log = logging.getLogger("taemi_edge.live")

#: Stamps that gain or lose more than this against the times of sending within `_SPAN_NS` are on a clock of their own.
_MOST_APART_NS, _SPAN_NS = 1_000_000_000, 10_000_000_000


class Stamps:
    """The times of one publisher's messages.

    Args:
        shown: what log lines call the topic.

    Example:
        >>> stamps, second = Stamps("ros:/imu"), 10**9
        >>> [stamps.time_s(None if stamp is None else stamp * second, sent * second)
        ...  for stamp, sent in ((5, 100), (6, 101), (None, 102), (10, 103))]  # simulated time that runs too fast
        [5.0, 6.0, 102.0, 103.0]
    """

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._reference: tuple[int, int] | None = None
        self._measured = True

    def time_s(self, stamp_ns: int | None, sent_ns: int | None) -> float | None:
        """The time of a message in seconds on a clock of its sender; None where it has none.

        Args:
            stamp_ns: when it was measured, as its header says.
            sent_ns: when it was sent, as its publisher says.
        """
        if stamp_ns is not None and (sent_ns is None or self._agree(stamp_ns, sent_ns)):
            return stamp_ns / 1e9
        return None if sent_ns is None else sent_ns / 1e9

    def _agree(self, stamp_ns: int, sent_ns: int) -> bool:
        if self._reference is None or not 0 <= sent_ns - self._reference[1] <= _SPAN_NS:
            self._reference = (stamp_ns, sent_ns)
        elif self._measured:
            gained_ns = (stamp_ns - self._reference[0]) - (sent_ns - self._reference[1])
            if abs(gained_ns) > _MOST_APART_NS:
                self._measured = False
                log.warning(
                    "%s: its headers' stamps do not run with the clock (simulated time, or a clock that was set): its "
                    "messages are placed by when they were sent",
                    self._shown,
                )
        return self._measured
