"""A running loop in, whether it is well out: for /healthz, for /metrics and for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from taemi_edge.live.loop import LiveLoop
from taemi_edge.live.words import Listener

#: A loop that has made no hop for so many hops is not well.
_SILENT_HOPS = 4


@dataclass
class LiveState:
    """What can be asked of a run while it goes on; only read here, from any thread."""

    loop: LiveLoop
    listeners: list[Listener] = field(default_factory=list)
    #: Counts of outputs by name: lines lost, moments left out, clips recorded.
    counters: dict[str, Callable[[], int]] = field(default_factory=dict)

    @property
    def status(self) -> Literal["starting", "ok", "degraded", "stuck", "ended"]:
        """`degraded` where a stream is missing that should not be, `stuck` where hops stopped, `ended` after files."""
        counts, loop = self.loop.counts, self.loop
        now_s = loop.clock.now_s()
        if all(source.ended for source in loop.sources):
            return "ended"
        last_s = counts.last_s
        if last_s is None:
            return "starting" if now_s < 30 else "stuck"
        if now_s - last_s > _SILENT_HOPS * loop.hop_s + loop.settle_s + 5:
            return "stuck"
        lost = any(source.losses(now_s) for source in loop.sources)
        return "degraded" if lost else "ok"

    def health(self) -> dict[str, Any]:
        """The body of /healthz."""
        counts = self.loop.counts
        return {
            "status": self.status,
            "uptime_s": round(self.loop.clock.now_s(), 1),
            "hops": counts.made,
            "late": counts.late,
            "missed": counts.missed,
            "streams": {source.name: self.lamps(source.name) for source in self.loop.sources},
        }

    def lamps(self, source: str) -> dict[str, dict[str, str | None]]:
        """State and reason of each stream of a source."""
        return {m: {"state": state, "reason": reason} for m, (state, reason) in self.loop.lamps.of(source).items()}

    def links(self, source: str) -> list[Mapping[str, Any]]:
        """How each connection of a source stands; addresses without passwords."""
        captures = next(s.captures for s in self.loop.sources if s.name == source)
        return [
            {
                "address": capture.address.shown,
                "state": capture.link.state,
                "reason": capture.link.reason,
                "reconnects": capture.reconnects,
                "failures": capture.failures,
            }
            for capture in captures
        ]
