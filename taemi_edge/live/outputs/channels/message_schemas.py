"""The JSON schemas of what Foxglove has no message for: rows, words, hops, predictions, presence and latency.

They keep to what every reader of JSON schemas understands: one type for each property, and no property that may be
null. Whatever may be null is left out of a schema, and stands in messages all the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from taemi_edge.bundle.outputs import ClassesSpec
from taemi_edge.bundle.spec import Manifest

JsonSchema = dict[str, Any]

_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_NUMBERS = {"type": "array", "items": _NUMBER}
_STAMP = {"type": "object", "title": "time", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}


class SaidRow(msgspec.Struct, frozen=True):
    """A row of a series: `time_s` and its numbers come back to the last bit."""

    timestamp: dict[str, int]
    time_s: float
    values: list[float]


class SaidWords(msgspec.Struct, frozen=True):
    """A word of a text stream, or several; `time_s` is when the last one ended."""

    timestamp: dict[str, int]
    time_s: float
    start_s: float
    end_s: float
    text: str


def _stamped(title: str, **properties: JsonSchema) -> JsonSchema:
    """The schema of a message that says when it belongs, on the wall clock and on the clock of the session."""
    own = {"timestamp": _STAMP, "time_s": _NUMBER, **properties}
    return {"title": f"taemi_edge.{title}", "type": "object", "properties": own}


def _by_name(names: Any, schema: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": dict.fromkeys(names, schema)}


def row_schema() -> JsonSchema:
    """A row of a series."""
    return _stamped("Row", values=_NUMBERS)


def words_schema() -> JsonSchema:
    """A word of a text stream, or several."""
    return _stamped("Words", start_s=_NUMBER, end_s=_NUMBER, text=_TEXT)


def hop_schema(manifest: Manifest) -> JsonSchema:
    """What a hop was made of: see `docs/how-to/foxglove.md`."""
    streams = manifest.streams
    return _stamped(
        "Hop",
        pieces=_by_name(streams, _NUMBERS),
        faults=_by_name(streams, _TEXT),
        losses=_by_name(streams, _TEXT),
        frames_share=_NUMBER,
    )


def outputs_schema(manifest: Manifest, group: str) -> JsonSchema:
    """The numbers of an output group, in the order of the manifest."""
    best = {"best": _TEXT} if isinstance(manifest.outputs[group], ClassesSpec) else {}
    return _stamped("Outputs", values=_NUMBERS, **best)


def presence_schema(manifest: Manifest) -> JsonSchema:
    """The state of every stream."""
    streams = manifest.streams
    return _stamped(
        "Presence",
        state=_by_name(streams, _TEXT),
        code=_by_name(streams, {"type": "integer"}),
        age_ms=_by_name(streams, _NUMBER),
        reason=_by_name(streams, _TEXT),
    )


def latency_schema(manifest: Manifest) -> JsonSchema:
    """How long each part took, in milliseconds."""
    return _stamped("Latency", ms=_by_name((*manifest.part_names, "face", "total"), _NUMBER))


def prediction_schema(manifest: Manifest) -> JsonSchema:
    """The line of `--output`."""
    streams = manifest.streams
    properties = {
        "source": _TEXT,
        "time_s": _NUMBER,
        "window_s": _NUMBERS,
        "presence": _by_name(streams, _TEXT),
        "reason": _by_name(streams, _TEXT),
        "status": _TEXT,
        "backend": _TEXT,
    }
    return {"title": "taemi_edge.Prediction", "type": "object", "properties": properties}


def event_schema(title: str) -> JsonSchema:
    """An event of the load or of the model, as `--events` writes it."""
    return {"title": f"taemi_edge.{title}", "type": "object", "properties": {"type": _TEXT, "time_s": _NUMBER}}
