"""Ranges of recordings: a sample can be some seconds of a drive that a robot recorded, rather than files of its own.

A range goes to a worker process with its sample. It is a few words and numbers: which recording, which topic feeds
which stream, and from when to when. The worker reads that part of the recording and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taemi_edge.media.recordings.recorded_clock import ChosenClock, Clock


@dataclass(frozen=True)
class DriveOptions:
    """How recordings become samples.

    Attributes:
        topics: by stream, a topic, or fields of one: "/imu/data.linear_acceleration". Other streams are guessed.
        clock: which times of messages count: "header", "log", or "auto" to let each recording decide.
        clip_s: how long the clips are that recordings without labels are cut into, in seconds; by default as long as
            the window of the model that they are read for.
    """

    topics: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = "auto"
    clip_s: float | None = None


@dataclass(frozen=True)
class DriveRange:
    """A range of one recording.

    Attributes:
        file: the recording, a file or the folder of a bag; it begins where the paths of the sample do.
        topics: by stream, the topic that feeds it, with the fields of it where it is not read whole.
        start_ns, end_ns: the log times from which on and before which messages belong to it; None where the recording
            begins and ends.
        clock: which times of messages count, as it was chosen for the whole recording.
    """

    file: Path
    topics: Mapping[str, str]
    start_ns: int | None = None
    end_ns: int | None = None
    clock: Clock | ChosenClock = "auto"
