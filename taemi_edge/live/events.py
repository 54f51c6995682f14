"""Presence events: a stream of a source was lost, came back or went stale.

The presence of each stream is learnt from two places: the hops, which say what the model used, and the watch, which
notices a lost connection between hops. `StreamStates` puts both together and makes an event of each change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.presence import State

log = logging.getLogger("taemi_edge.live")


class PresenceEvent(
    msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to", "stream": "modality"}
):
    """The presence of a stream changed.

    Attributes:
        source: the name of the source.
        time_s: when, in seconds of the session.
        stream: which of the source's streams; `modality` in JSON.
        before: the state until then; `from` in JSON.
        after: the state from then on; `to` in JSON.
        reason: why the stream is not live; None where it is.

    Example:
        >>> event = PresenceEvent(
        ...     source="door", time_s=2.5, stream="audio", before="live", after="missing", reason="digital silence"
        ... )
        >>> print(event)
        door audio live -> missing: digital silence
        >>> msgspec.json.decode(event.to_json())["from"]
        'live'
    """

    type: Literal["presence"] = "presence"
    source: str
    time_s: float
    stream: str
    before: State
    after: State
    reason: str | None

    def to_json(self) -> str:
        """One line, without the line end."""
        return msgspec.json.encode(self).decode()

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"{self.source} {self.stream} {self.before} -> {self.after}{because}"


class ModelEvent(msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """A live run took up another model, or refused to.

    Attributes:
        time_s: when, in seconds of the session.
        before: the model until then; `from` in JSON.
        after: the model from the next prediction on, or the one that was refused; `to` in JSON.
        taken_up: whether it runs now.
        missed: hops that were left out between the last prediction of the one and the first of the other.
        reason: why it was refused, or in what its first predictions differ; None otherwise.

    Example:
        >>> event = ModelEvent(time_s=8.0, before="a3c1", after="77f0", taken_up=True, missed=0, reason=None)
        >>> print(event)
        model a3c1 -> 77f0: taken up, 0 hops missed
        >>> msgspec.json.decode(event.to_json())["type"]
        'model'
    """

    type: Literal["model"] = "model"
    time_s: float
    before: str
    after: str
    taken_up: bool
    missed: int
    reason: str | None

    def to_json(self) -> str:
        """One line, without the line end."""
        return msgspec.json.encode(self).decode()

    def __str__(self) -> str:
        how = f"taken up, {self.missed} hops missed" if self.taken_up else "refused"
        return f"model {self.before} -> {self.after}: {how}" + (f": {self.reason}" if self.reason else "")


class StreamStates:
    """The presence of every stream of every source, by the last hop or by a loss that was noticed since.

    A loss counts as soon as the watch notices it. The next hop then binds the token of the missing stream and reports
    the same state. Every change is logged. May be called from any thread.

    Args:
        sources: the names of the sources.
        streams: the names of the model's streams; all of them begin as missing, with the reason "connecting".

    Example:
        >>> states = StreamStates(["door"], ["vision", "audio"])
        >>> states.of("door")["vision"]
        ('missing', 'connecting')
        >>> states.after_watch("door", {"vision": "connection refused"}, now_s=1.0)
        []
        >>> states.of("door")["vision"]
        ('missing', 'connection refused')
    """

    def __init__(self, sources: Iterable[str], streams: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._streams = tuple(streams)
        self._states: dict[tuple[str, str], tuple[State, str | None]] = {
            (source, stream): ("missing", "connecting") for source in sources for stream in self._streams
        }

    def of(self, source: str) -> dict[str, tuple[State, str | None]]:
        """The state of each stream of a source, and why it is not live."""
        with self._lock:
            return {stream: self._states[source, stream] for stream in self._streams}

    def after_watch(self, source: str, losses: Mapping[str, str], now_s: float) -> list[PresenceEvent]:
        """Note the streams that the watch found lost, each with its reason; returns an event for each change."""
        with self._lock:
            return [e for s, why in losses.items() if (e := self._change(source, s, "missing", why, now_s))]

    def after_hop(self, prediction: Prediction, losses: Mapping[str, str]) -> list[PresenceEvent]:
        """Note the presence in a prediction; returns an event for each change.

        Args:
            prediction: of the last hop of a source.
            losses: the streams of the source that are lost at this moment; they stay missing whatever the hop had.
        """
        events = []
        with self._lock:
            for stream in self._streams:
                state = prediction.presence[stream]
                if stream in losses and state != "missing":
                    continue
                reason = prediction.reason.get(stream)
                if event := self._change(prediction.source, stream, state, reason, prediction.time_s):
                    events.append(event)
        return events

    def _change(
        self, source: str, stream: str, state: State, reason: str | None, time_s: float
    ) -> PresenceEvent | None:
        before, _ = self._states[source, stream]
        self._states[source, stream] = (state, reason)
        if before == state:
            return None
        event = PresenceEvent(
            source=source, time_s=round(time_s, 3), stream=stream, before=before, after=state, reason=reason
        )
        log.log(logging.WARNING if state == "missing" else logging.INFO, "%s", event)
        return event
