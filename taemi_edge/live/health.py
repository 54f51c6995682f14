"""The health of a live run: what /healthz, /metrics and the page show of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.training_data import said_shortly
from taemi_edge.live.lines import LineListener
from taemi_edge.live.loop import LiveLoop
from taemi_edge.live.source import LiveSource
from taemi_edge.live.takeover import ModelFollower

#: A loop that has made no hop for the time of so many hops, and 5 s, is stuck.
_SILENT_HOPS = 4


@dataclass
class LiveState:
    """A running loop seen from outside. It only reads, and may be used from any thread.

    Attributes:
        loop: the loop that makes the hops.
        manifest: of the model: its streams and outputs.
        listeners: what receives live transcripts and series; they count good and bad lines.
        counters: counts of the outputs by name, such as lines lost, hops left out and clips recorded.
        first_model_id: the first digits of the hash of the bundle that the run began with.
        follower: takes up other models; None where the model never changes.
    """

    loop: LiveLoop
    manifest: Manifest
    first_model_id: str = ""
    listeners: list[LineListener] = field(default_factory=list)
    counters: dict[str, Callable[[], int]] = field(default_factory=dict)
    follower: ModelFollower | None = None

    @property
    def model(self) -> dict[str, str]:
        """Which model runs, which one is opened beside it, and which one was refused and why."""
        if (follower := self.follower) is None:
            return {"id": self.first_model_id}
        told = {"target": follower.target, "opening": follower.opening, "refused": follower.refused}
        told["reason"] = follower.reason if follower.refused else ""
        return {"id": follower.fleet.model_id} | {key: value for key, value in told.items() if value}

    @property
    def trained_on_synthetic(self) -> str:
        """On which synthetic data the model that runs was trained, in up to 200 characters; "" where on none."""
        manifest = self.loop.fleet.manifest
        return said_shortly(manifest.trained_on) if manifest.synthetic else ""

    @property
    def status(self) -> Literal["starting", "ok", "degraded", "stuck", "ended"]:
        """How the run goes.

        `degraded`: a stream is lost that the source should have, or the machine cannot carry all. `stuck`: no hop was
        made for too long. `ended`: all sources were files, and all are at their end.
        """
        counts, loop = self.loop.counts, self.loop
        now_s = loop.clock.now_s()
        if all(source.ended(now_s) for source in loop.sources):
            return "ended"
        last_s = counts.last_s
        if last_s is None:
            return "starting" if now_s < 30 else "stuck"
        if now_s - last_s > _SILENT_HOPS * loop.load.hop_s + loop.settle_s + 5:
            return "stuck"
        return "degraded" if self.reasons() else "ok"

    def reasons(self) -> list[str]:
        """Why the run is degraded: what takes too long, and which streams are lost."""
        now_s, load = self.loop.clock.now_s(), self.loop.load
        reasons = [f"load: {load.reason}"] if load.reason is not None else []
        for source in self.loop.sources:
            reasons += [f"{source.name} {stream}: {reason}" for stream, reason in source.losses(now_s).items()]
        return reasons

    def health(self) -> dict[str, Any]:
        """The body of /healthz: status and reasons, uptime in seconds, hops, and the state of every stream."""
        counts, load = self.loop.counts, self.loop.load
        return {
            "status": self.status,
            "reasons": self.reasons(),
            "uptime_s": round(self.loop.clock.now_s(), 1),
            "hops": counts.made,
            "late": counts.late,
            "missed": counts.missed,
            "frames_share": round(load.level.frames_share, 4),
            "hop_s": load.hop_s,
            "model": {**self.model, **self._marks()},
            "streams": {source.name: self.stream_states(source.name) for source in self.loop.sources},
        }

    def _marks(self) -> dict[str, Any]:
        told = self.trained_on_synthetic
        return {"synthetic": True, "trained_on": told} if told else {}

    def stream_states(self, source: str) -> dict[str, dict[str, str | None]]:
        """The state of each stream of a source and why it is not live."""
        return {s: {"state": state, "reason": reason} for s, (state, reason) in self.loop.states.of(source).items()}

    def source(self, name: str) -> LiveSource:
        """The source of a name."""
        return next(source for source in self.loop.sources if source.name == name)

    def links(self, source: str) -> list[Mapping[str, Any]]:
        """How each connection of a source stands, as the page shows it; addresses are without passwords."""
        captures = self.source(source).captures
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
