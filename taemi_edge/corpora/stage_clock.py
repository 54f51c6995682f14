"""What a process spends on the stages of its work, in CPU seconds.

A clock reads the processor time of its whole process, threads of libraries included, when a stage begins and when it
ends: two readings of less than a microsecond. What waits, for a disk or for a turn on a busy processor, is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: What lies between stages.
OTHER = "other"
#: The stages of a clip that is read as a stream: its file is decoded, faces are found and cut out (or whole pictures
#: resized), sound is cut, and words are read or recognised.
DECODE, FACES, SOUND, TRANSCRIPT = "decode", "faces", "sound", "words"
#: What a process does before its first clip: it imports modules and opens the encoders.
START = "start"
#: Features are written.
STORE = "store"


class StageClock:
    """Splits the CPU seconds of a process among named stages.

    A stage inside another one has its time alone: the outer one stands still meanwhile.

    Args:
        since_s: the processor time of this process from which on is counted, 0 for its beginning; what passed since
            then belongs to `START`. By default it counts from now.

    Example:
        >>> clock = StageClock()
        >>> with clock.stage("decode"):
        ...     with clock.stage("faces"):
        ...         _ = sum(range(1000))
        >>> sorted(clock.take())
        ['decode', 'faces', 'other']
    """

    def __init__(self, since_s: float | None = None) -> None:
        self._stage, self._since_s = OTHER, time.process_time()
        self._spent_s: dict[str, float] = {} if since_s is None else {START: self._since_s - since_s}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is spent inside the block for a stage."""
        outer = self._stage
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def take(self) -> dict[str, float]:
        """The CPU seconds of each stage since the last call, or since the clock was made."""
        self._switch(self._stage)
        spent_s, self._spent_s = self._spent_s, {}
        return spent_s

    def _switch(self, stage: str) -> None:
        now_s = time.process_time()
        self._spent_s[self._stage] = self._spent_s.get(self._stage, 0.0) + now_s - self._since_s
        self._stage, self._since_s = stage, now_s


def encoding(stream: str) -> str:
    """The stage of the encoder of a stream; streams may be called as other stages are.

    >>> encoding("vision")
    'encode vision'
    """
    return f"encode {stream}"


def add_stages(total_s: dict[str, float], spent_s: Mapping[str, float]) -> None:
    """Add the CPU seconds of a clip to those of all clips."""
    for stage, seconds in spent_s.items():
        total_s[stage] = total_s.get(stage, 0.0) + seconds
