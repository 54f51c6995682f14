"""Which topic feeds a stream, and which fields of its messages.

/camera/image_raw                                   the picture of a topic
/imu/data.linear_acceleration                       the three numbers of one field
/imu/data.linear_acceleration.x,orientation.w       two numbers of two fields, in this order
/tf.transforms[0].transform.translation             an element of a list
/audio?rate=44100&channels=2&format=S16LE           sound, whose messages do not say how it lies in them
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from taemi_edge.errors import UsageError

#: The way to a field: names of fields, and numbers of elements.
Path: TypeAlias = tuple[str | int, ...]

_MOST_FIELDS, _MOST_STEPS, _MOST_CHARACTERS = 1024, 32, 64 * 1024
#: Names in JSON may have other letters than ASCII's, and a dash.
_STEP = re.compile(r"([^\W\d][\w-]*)((?:\[[0-9]{1,6}\])*)")
_INDICES = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class TopicField:
    """A topic, and where in its messages a stream is.

    Attributes:
        topic: its name.
        field: one or several paths with commas between them, empty for what the type is made for; and behind a question
            mark the form of sound.
    """

    topic: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.topic}.{self.field}" if self.field.partition("?")[0] else f"{self.topic}{self.field}"


def parse_topic_field(text: str, topics: Collection[str] = ()) -> TopicField:
    """Split what is typed into the topic and the field behind it.

    Args:
        text: the topic, and behind a dot the field.
        topics: those that are there. Names of ROS topics have no dots; other recorders write any name, and the longest
            one that fits is taken.

    Raises:
        UsageError: no topic stands there, or the field is none.

    Example:
        >>> parse_topic_field("/imu/data.linear_acceleration.x")
        TopicField(topic='/imu/data', field='linear_acceleration.x')
        >>> parse_topic_field("robot.imu.x", ["robot.imu"])
        TopicField(topic='robot.imu', field='x')
    """
    text, mark, form = text.partition("?")
    known = [topic for topic in topics if text == topic or text.startswith(f"{topic}.")]
    topic = max(known, key=len) if known else text.partition(".")[0]
    field = text[len(topic) + 1 :]
    if not topic or (text != topic and not field) or (mark and not form):
        raise UsageError(f"{text}: expected a topic, or a topic and a field such as /imu/data.linear_acceleration.x")
    field_paths(field)
    return TopicField(topic, f"{field}{mark}{form}")


def field_paths(field: str) -> tuple[Path, ...]:
    """The paths of a field without what is behind a question mark, each of names and of numbers of elements.

    Raises:
        UsageError: it is no field.

    Example:
        >>> field_paths("position[2],header.frame_id"), field_paths("")
        ((('position', 2), ('header', 'frame_id')), ())
    """
    field = field.partition("?")[0]
    if not field:
        return ()
    parts = field.split(",") if len(field) <= _MOST_CHARACTERS else []
    if not 0 < len(parts) <= _MOST_FIELDS:
        raise UsageError(f"{field:.60}: expected up to {_MOST_FIELDS:,} fields")
    return tuple(_path(part.strip()) for part in parts)


def shown_path(path: Path) -> str:
    """A path as it is typed.

    >>> shown_path(("transforms", 0, "transform"))
    'transforms[0].transform'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _path(text: str) -> Path:
    found: list[str | int] = []
    for part in text.split("."):
        step = _STEP.fullmatch(part)
        if step is not None:
            found += [step[1], *(int(index) for index in _INDICES.findall(step[2]))]
        if step is None or len(found) > _MOST_STEPS:
            raise UsageError(
                f"{text:.200}: expected names of fields with dots between them, such as linear_acceleration.x or "
                f"position[2]"
            )
    return tuple(found)
