"""Words that messages hold: plain, or as JSON with the times at which they were said."""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from taemi_edge.errors import MessageError, first_line
from taemi_edge.media.messages.readings import TextReading
from taemi_edge.media.messages.shapes import Number, Shape, Structure, Text, is_time, leaves, shape_at
from taemi_edge.media.messages.topic_field import Path, shown_path

#: Letters of a message; a live transcript's line has as many bytes.
_MOST_LETTERS = 64 * 1024
#: Numbers above are Unix time, as in live transcripts; what is below counts from the beginning of a session.
_UNIX_S, _FARTHEST_S = 1e9, 1e10
#: Where the words of known types are.
_USUAL = {
    "std_msgs/msg/String": "data",
    "foxglove.Log": "message",
    "foxglove_msgs/msg/Log": "message",
    "rcl_interfaces/msg/Log": "msg",
    "rosgraph_msgs/msg/Log": "msg",
}
_NO_WORDS = ("frame_id", "child_frame_id", "encoding", "format")


class SpokenWords(msgspec.Struct):
    """Words in JSON, as live transcripts have them."""

    text: str
    start: float | None = None
    end: float | None = None


def choose_words(shape: Shape, name: str, path: Path | None, is_json: bool = False) -> tuple[Path, ...]:
    """The paths of the text, its start and its end; of the text alone where the others are not there.

    Args:
        shape: of the messages.
        name: of their type.
        path: what was asked for; None for what is usual.
        is_json: whether a structure can be read as a whole, and may lack the times in another message.

    Raises:
        MessageError: there are no words, or more than one text that could be meant.
    """
    at = path or ()
    found = shape_at(shape, at, name)
    if isinstance(found, Text):
        return (at,)
    if isinstance(found, Structure):
        usual = _USUAL.get(found.name)
        if usual in found.fields:
            return ((*at, str(usual)),)
        if isinstance(found.fields.get("text"), Text):
            return (at,) if is_json else _with_times(found, at)
        only = _only_text(found)
        if only is not None:
            return ((*at, *only),)
    where = f"{shown_path(at)} of {name}" if at else name
    raise MessageError(f"expected words in {where}, found {_there(found)}: name the field, or map another")


def reading_of_words(values: list[Any], stamp: int | None) -> list[TextReading]:
    """The words of a message, and when they were said.

    Args:
        values: of the paths of `choose_words`.
        stamp: of the message.

    Raises:
        MessageError: it is no text, or JSON of another kind.
    """
    text = values[0]
    try:
        if len(values) > 1:
            return _reading(SpokenWords(text, *values[1:]), stamp)
        return _reading(msgspec.convert(text, SpokenWords) if isinstance(text, dict) else _spoken(text), stamp)
    except (msgspec.ValidationError, TypeError) as error:
        raise MessageError(f'expected {{"text": "...", "start": s, "end": s}}: {first_line(error):.200}') from error


def _spoken(text: Any) -> SpokenWords:
    if not isinstance(text, str):
        raise MessageError(f"expected words, got {type(text).__name__}")
    _check_length(text)
    if not text.lstrip().startswith("{"):
        return SpokenWords(text)
    try:
        message = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return SpokenWords(text)
    return msgspec.convert(message, SpokenWords)


def _reading(spoken: SpokenWords, stamp: int | None) -> list[TextReading]:
    _check_length(spoken.text)
    start, end = spoken.start, spoken.end
    for time_s in (start, end):
        if time_s is not None and not (isfinite(time_s) and abs(time_s) < _FARTHEST_S):
            raise MessageError(f"expected times of words in seconds, got {time_s:g}")
    length_s = None
    if start is not None and end is not None:
        if not start < end:
            raise MessageError(f"expected start < end, got {start:g} and {end:g}")
        length_s = end - start
    if end is not None and end > _UNIX_S:
        stamp = round(end * 1e9)
    return [TextReading(stamp, spoken.text, length_s)] if spoken.text.strip() else []


def _check_length(text: str) -> None:
    if len(text) > _MOST_LETTERS:
        raise MessageError(f"expected words of up to {_MOST_LETTERS:,} letters, got {len(text):,}")


def _with_times(found: Structure, at: Path) -> tuple[Path, ...]:
    if isinstance(found.fields.get("start"), Number) and isinstance(found.fields.get("end"), Number):
        return (*at, "text"), (*at, "start"), (*at, "end")
    return ((*at, "text"),)


def _only_text(shape: Structure) -> Path | None:
    """The only text of a message that holds nothing else beside its header."""
    texts: list[Path] = []
    for path, found in leaves(shape):
        above = shape_at(shape, path[:-1], "")
        if "header" in path or path[-1] in _NO_WORDS or is_time(above):
            continue
        if not isinstance(found, Text):
            return None
        texts.append(path)
    return texts[0] if len(texts) == 1 else None


def _there(shape: Shape) -> str:
    texts = [shown_path(path) for path, found in leaves(shape) if isinstance(found, Text)]
    return f"the texts {', '.join(texts[:16])}" if texts else "no text"
