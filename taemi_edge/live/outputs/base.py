"""Where a live run's predictions and events go: files, an annotated video, and anything slow in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from fractions import Fraction
from pathlib import Path

from taemi_edge.errors import OutputError
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.loop import Moment, Output
from taemi_edge.runtime.annotate import AnnotatedVideo
from taemi_edge.runtime.json_lines import JsonLines

log = logging.getLogger("taemi_edge.live")


class QuietOutput:
    """An output that ignores what it does not override."""

    def on_moment(self, moment: Moment) -> None: ...
    def on_event(self, event: PresenceEvent) -> None: ...
    def close(self) -> None: ...


class Lines(QuietOutput):
    """Predictions, or events, as lines of JSON; a full disk costs lines, not the run."""

    def __init__(self, lines: JsonLines, what: str) -> None:
        self._lines, self._what = lines, what
        #: Lines that could not be written.
        self.lost = 0

    def write(self, line: str) -> None:
        try:
            self._lines.write(line)
        except OutputError as error:
            self.lost += 1
            if self.lost & (self.lost - 1) == 0:  # the first, second, fourth, ...
                log.error("%s %d lost: %s", self._what, self.lost, error)
        else:
            if self.lost:
                log.warning("%s are written again; %d were lost", self._what, self.lost)
                self.lost = 0


class PredictionLines(Lines):
    """A line a hop and source."""

    def on_moment(self, moment: Moment) -> None:
        self.write(moment.prediction.to_json())


class EventLines(Lines):
    """A line for each change of presence."""

    def on_event(self, event: PresenceEvent) -> None:
        self.write(event.to_json())


class InThread:
    """Runs an output in a thread of its own; where that cannot keep up, moments are left out and counted.

    Args:
        most: how many moments wait at most.
    """

    def __init__(self, output: Output, name: str, most: int = 16) -> None:
        self._output, self._name = output, name
        self._queue: queue.Queue[Moment | PresenceEvent | None] = queue.Queue(most)
        self.left_out = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def on_moment(self, moment: Moment) -> None:
        self._put(moment)

    def on_event(self, event: PresenceEvent) -> None:
        self._put(event)

    def close(self) -> None:
        """Let what waits be written, for as long as that takes within reason."""
        try:
            self._queue.put(None, timeout=10)
        except queue.Full:
            log.error("%s does not end: what waits for it is lost", self._name)
            return
        self._thread.join(30)

    def _put(self, item: Moment | PresenceEvent) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.left_out += 1
            if self.left_out & (self.left_out - 1) == 0:
                log.warning("%s cannot keep up: %d moments left out", self._name, self.left_out)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if isinstance(item, Moment):
                    self._output.on_moment(item)
                else:
                    self._output.on_event(item)
            except Exception:  # one output's failure must not end the run
                log.exception("%s failed", self._name)
        try:
            self._output.close()
        except OutputError as error:
            log.error("%s", error)


class AnnotatedFile(QuietOutput):
    """The picture with its bars and lamps, into a file that is whole when the run ends."""

    def __init__(self, file: Path, sample_rate_hz: int) -> None:
        self._video = AnnotatedVideo(file, sample_rate_hz, Fraction(25))
        self._failed = False

    def on_moment(self, moment: Moment) -> None:
        if self._failed:
            return
        self._video.say(moment.hop.words)
        try:
            self._video.add(moment.hop.frames, moment.hop.samples, moment.prediction, moment.face)
        except OutputError as error:
            self._failed = True
            log.error("the annotated video ends here: %s", error)

    def close(self) -> None:
        self._video.__exit__(None, None, None)


class Recent:
    """The moments of the last seconds of a source."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._moments: deque[Moment] = deque()

    def add(self, moment: Moment) -> None:
        self._moments.append(moment)
        while self._moments[0].hop.end_s <= moment.hop.end_s - self._seconds:
            self._moments.popleft()

    def all(self) -> list[Moment]:
        return list(self._moments)
