"""The presence of the streams as diagnostics: a level, a sentence and values for each. Knows nothing of rclpy."""

from __future__ import annotations

from dataclasses import dataclass

import taemi_edge as te

#: diagnostic_msgs/DiagnosticStatus: OK, WARN, ERROR.
OK, WARN, ERROR = 0, 1, 2
_LEVELS = {"live": OK, "recovering": WARN, "stale": WARN, "missing": ERROR}


@dataclass(frozen=True)
class StreamStatus:
    """What is to be said of a stream.

    Attributes:
        level: of diagnostic_msgs/DiagnosticStatus.
        name: such as "taemi_edge: eye".
        message: its presence, and why.
        values: more of it, by name.
    """

    level: int
    name: str
    message: str
    values: dict[str, str]


def statuses(node: str, prediction: te.Prediction) -> list[StreamStatus]:
    """A status for each stream of a prediction."""
    made = []
    for stream, presence in prediction.presence.items():
        reason, age_ms = prediction.reason.get(stream), prediction.age_ms.get(stream)
        values = {"presence": presence, "age_ms": "" if age_ms is None else f"{age_ms:.0f}"}
        message = f"{presence}: {reason}" if reason else presence
        made.append(StreamStatus(_LEVELS[presence], f"{node}: {stream}", message, values))
    return made
