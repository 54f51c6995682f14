"""What the page is sent: a message for each hop and event, and the last two minutes when it is opened."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import msgspec

from taemi_edge.bundle.outputs import OutputSpec, RegressionSpec
from taemi_edge.bundle.streams import kind_name
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.numbers import numbers_of
from taemi_edge.live.outputs.output import HopResult
from taemi_edge.live.source import LiveSource
from taemi_edge.palette import DARK, LIGHT, series_colours

#: How far back the curves of the page reach when it is opened.
HISTORY_S = 120.0
_MOST_EVENTS = 50
_MOST_WORDS = 60
#: Beyond so many curves of a group, the colours come again.
_MOST_COLOURS = 512


class PageHistory:
    """Keeps what a page needs when it is opened, and writes the messages that pages are sent, all as JSON.

    Filled by the loop and read by the thread of the server.

    Args:
        state: the running loop, whose links and counts the messages hold, and the model's streams and outputs.
    """

    def __init__(self, state: LiveState) -> None:
        self._state = state
        self._streams, self._outputs = state.manifest.streams, state.manifest.outputs
        kept = max(2, round(HISTORY_S / state.loop.hop_s))
        self._rows: dict[str, deque[str]] = {source.name: deque(maxlen=kept) for source in state.loop.sources}
        self._events: deque[PresenceEvent] = deque(maxlen=_MOST_EVENTS)
        self._lock = threading.Lock()

    def add_hop(self, result: HopResult) -> str:
        """Keep the result of a hop; returns the message for the pages that are open."""
        name, counts = result.prediction.source, self._state.loop.counts
        row = msgspec.Raw(msgspec.json.encode(self._row(result)))
        message = {
            "type": "hop",
            "prediction": msgspec.Raw(result.prediction.to_json().encode()),
            "row": row,
            "faces": _relative_faces(result, self._state.source(name)),
            "words": {stream: " ".join(words[-_MOST_WORDS:]) for stream, words in result.words.items()},
            "links": self._state.links(name),
            "hops": {"late": counts.late, "missed": counts.missed},
        }
        with self._lock:
            self._rows[name].append(bytes(row).decode())
        return msgspec.json.encode(message).decode()

    def add_event(self, event: PresenceEvent) -> str:
        """Keep a change of presence; returns the message for the pages that are open."""
        with self._lock:
            self._events.append(event)
        return event.to_json()

    def _row(self, result: HopResult) -> list[Any]:
        """A hop as the page's curves keep it: time, all numbers of all outputs, a letter for each stream's state."""
        prediction = result.prediction
        numbers = [n for g, spec in self._outputs.items() for n in numbers_of(spec, prediction.outputs.get(g))]
        return [prediction.time_s, numbers, "".join(prediction.presence[stream][0] for stream in self._streams)]

    def greeting(self) -> str:
        """The first message to a page: the sources, how they stand, and what happened in the last minutes."""
        with self._lock:
            history = {name: f"[{','.join(rows)}]" for name, rows in self._rows.items()}
            events = list(self._events)
        message = {
            "type": "hello",
            "trained_on": self._state.trained_on_synthetic,
            "streams": [{"name": name, "kind": kind_name(spec)} for name, spec in self._streams.items()],
            "outputs": [_described_group(name, spec) for name, spec in self._outputs.items()],
            "hop_s": self._state.loop.hop_s,
            "now_s": self._state.loop.clock.now_s(),
            "sources": [
                {
                    "name": name,
                    "lamps": self._state.stream_states(name),
                    "links": self._state.links(name),
                    "pictures": list(self._state.source(name).pictures),
                }
                for name in self._rows
            ],
            "events": events,
            "history": {name: msgspec.Raw(rows.encode()) for name, rows in history.items()},
        }
        return msgspec.json.encode(message).decode()


def _described_group(name: str, spec: OutputSpec) -> dict[str, Any]:
    """A group of outputs as the page draws it."""
    count = min(spec.size, _MOST_COLOURS)
    colours = {"light": series_colours(count, LIGHT), "dark": series_colours(count, DARK)}
    said = {"name": name, "names": spec.names, "colours": colours}
    if isinstance(spec, RegressionSpec):
        return {**said, "kind": "regression", "range": spec.range}
    return {**said, "kind": "classes", "range": (0.0, 1.0)}


def _relative_faces(result: HopResult, source: LiveSource) -> dict[str, list[float]]:
    """For each picture of a source, the box of a face in it, as shares of the picture's width and height."""
    faces: dict[str, list[float]] = {}
    for shown in source.pictures:
        for stream in source.beside(shown):
            face, frames = result.faces.get(stream), result.hop.pieces.get(stream)
            if face is not None and frames:
                height, width = frames[-1].image.shape[:2]
                x1, y1, x2, y2 = face.box_xyxy
                box = [x1 / width, y1 / height, x2 / width, y2 / height]
                faces.setdefault(shown, [round(share, 4) for share in box])
    return faces
