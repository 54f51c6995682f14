"""Presence in, changes of it out: an event each time a stream of a source is lost, comes back or goes stale."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Literal

import msgspec

from taemi_edge.bundle.spec import MODALITIES, Modality
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.presence import State

log = logging.getLogger("taemi_edge.live")


class PresenceEvent(msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """A stream's presence changed at `time_s` of the session; `reason` is why it is not live."""

    type: Literal["presence"] = "presence"
    source: str
    time_s: float
    modality: Modality
    before: State
    after: State
    reason: str | None

    def to_json(self) -> str:
        """One line, without the line end."""
        return msgspec.json.encode(self).decode()

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"{self.source} {self.modality} {self.before} -> {self.after}{because}"


class Lamps:
    """What every stream is, as far as is known: by the last hop, or by a loss that was noticed since.

    A loss counts as soon as the watch notices it; its token is in place with the next hop, which says the same.
    """

    def __init__(self, sources: list[str]) -> None:
        self._lock = threading.Lock()
        self._states: dict[tuple[str, Modality], tuple[State, str | None]] = {
            (source, m): ("missing", "connecting") for source in sources for m in MODALITIES
        }

    def of(self, source: str) -> dict[Modality, tuple[State, str | None]]:
        """State and reason of each stream."""
        with self._lock:
            return {m: self._states[source, m] for m in MODALITIES}

    def after_watch(self, source: str, losses: Mapping[Modality, str], now_s: float) -> list[PresenceEvent]:
        """What is new where some streams are known to be gone."""
        with self._lock:
            return [e for m, why in losses.items() if (e := self._change(source, m, "missing", why, now_s))]

    def after_hop(self, prediction: Prediction, losses: Mapping[Modality, str]) -> list[PresenceEvent]:
        """What is new with a prediction; a stream that was lost since its hop stays lost."""
        events = []
        with self._lock:
            for m in MODALITIES:
                state = prediction.presence[m]
                if m in losses and state != "missing":
                    continue
                reason = prediction.reason.get(m)
                if event := self._change(prediction.source, m, state, reason, prediction.time_s):
                    events.append(event)
        return events

    def _change(
        self, source: str, modality: Modality, state: State, reason: str | None, time_s: float
    ) -> PresenceEvent | None:
        before, _ = self._states[source, modality]
        self._states[source, modality] = (state, reason)
        if before == state:
            return None
        event = PresenceEvent(
            source=source, time_s=round(time_s, 3), modality=modality, before=before, after=state, reason=reason
        )
        log.log(logging.WARNING if state == "missing" else logging.INFO, "%s", event)
        return event
