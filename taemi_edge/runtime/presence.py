"""Decides whether a stream is live, stale, missing or recovering, from when its data arrive and when it is known lost.

    missing ──first arrival──> live ──silence > stale_after──> stale ──silence > missing_after──> missing
    live, stale ──known loss──> missing ──arrival──> recovering ──steady for recover_after──> live
    recovering ──silence > stale_after──> missing

While a stream is missing or recovering, its missing-stream token is bound in its place. A recovering stream is encoded
already, so that its features are there once it counts as live. Nothing here reads a clock: callers pass the time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from taemi_edge.bundle.streams import PresenceSpec

State = Literal["live", "stale", "missing", "recovering"]

#: Times come from sums of fractions: two that differ by less than this are the same.
_SAME_S = 1e-6


class Presence(msgspec.Struct, frozen=True):
    """A stream at one moment.

    Attributes:
        state: live, stale, missing or recovering.
        age_s: the age of its newest data in seconds; None where it is missing or nothing ever came.
        reason: why it is not live; None where it is.
    """

    state: State
    age_s: float | None
    reason: str | None

    @property
    def usable(self) -> bool:
        """Whether its features may be fused; where they may not, its missing-stream token is."""
        return self.state in ("live", "stale")


class StreamPresence:
    """The state machine of one stream; times are seconds on one clock and never run backwards.

    Args:
        spec: after how long a stream changes its state.
        absent_reason: the reason until something arrives.

    Example:
        >>> stream = StreamPresence(PresenceSpec(stale_after_s=0.5, missing_after_s=1.5, recover_after_s=0.5))
        >>> stream.at(0.0).state
        'missing'
        >>> stream.arrive(0.1)
        >>> [stream.at(t).state for t in (0.2, 1.0, 2.0)]
        ['live', 'stale', 'missing']
    """

    def __init__(self, spec: PresenceSpec, absent_reason: str = "nothing received yet") -> None:
        self._spec = spec
        self._state: State = "missing"
        self._reason: str | None = absent_reason
        self._suspicion: str | None = None
        self._seen = False
        self._newest_s: float | None = None
        self._recovering_since_s = 0.0

    def arrive(self, time_s: float) -> None:
        """Note that usable data of `time_s` came."""
        self._settle(time_s)
        if self._state == "missing":
            lost_before = self._seen and self._spec.recover_after_s > 0
            self._state = "recovering" if lost_before else "live"
            self._recovering_since_s = time_s
        elif self._state == "stale" or self._steady(time_s):
            self._state = "live"
        self._seen, self._suspicion = True, None
        self._newest_s = time_s if self._newest_s is None else max(time_s, self._newest_s)

    def suspect(self, reason: str) -> None:
        """Note that data came which cannot be used (no face, NaN).

        This is no arrival, but it is the reason if the stream becomes stale or missing.
        """
        self._suspicion = reason
        if self._state == "missing":
            self._reason = reason

    def lose(self, time_s: float, reason: str) -> None:
        """Note that the stream is known to be gone: it is missing at once."""
        self._settle(time_s)
        self._state, self._reason, self._suspicion = "missing", reason, None

    def at(self, time_s: float) -> Presence:
        """The presence at `time_s`, which must not lie before an arrival that was noted."""
        self._settle(time_s)
        age_s = None if self._newest_s is None else max(0.0, time_s - self._newest_s)
        if self._state == "live":
            return Presence("live", age_s, None)
        if self._state == "stale":
            return Presence("stale", age_s, self._suspicion or "no new data")
        if self._state == "recovering":
            return Presence("recovering", age_s, "not steady yet")
        return Presence("missing", None, self._reason)

    def _steady(self, time_s: float) -> bool:
        """Whether a recovering stream has been back for long enough."""
        return time_s - self._recovering_since_s >= self._spec.recover_after_s - _SAME_S

    def _settle(self, time_s: float) -> None:
        """Change the state for the silence since the newest data."""
        if self._newest_s is None or self._state == "missing":
            return
        silence_s = time_s - self._newest_s
        limit_s = self._spec.stale_after_s if self._state == "recovering" else self._spec.missing_after_s
        if silence_s > limit_s + _SAME_S:
            self._state = "missing"
            self._reason = self._suspicion or f"no new data for more than {limit_s:g} s"
        elif silence_s > self._spec.stale_after_s + _SAME_S and self._state == "live":
            self._state = "stale"
