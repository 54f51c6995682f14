"""Writes predictions and presence events as lines of JSON, into a file or to standard output."""

from __future__ import annotations

import logging
from pathlib import Path

from taemi_edge.errors import OutputError
from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.load import LoadEvent
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.runtime.json_lines import JsonLines

log = logging.getLogger("taemi_edge.live")


class LinesOutput(BaseOutput):
    """What predictions and events share: a full disk costs lines and does not end the run.

    Args:
        lines: the open file.
        what: the name of the lines in log messages.
    """

    def __init__(self, lines: JsonLines, what: str) -> None:
        self._lines, self._what = lines, what
        #: Lines that could not be written since writing last worked.
        self.lost = 0

    def write(self, line: str) -> None:
        """Write a line, given without its line end, or count it as lost."""
        try:
            self._lines.write(line)
        except OutputError as error:
            self.lost += 1
            if self.lost & (self.lost - 1) == 0:  # the first, second, fourth, ...: not a flood
                log.error("%s %d lost: %s", self._what, self.lost, error)
        else:
            if self.lost:
                log.warning("%s are written again; %d were lost", self._what, self.lost)
                self.lost = 0


class PredictionLines(LinesOutput):
    """Writes a line for each hop and source."""

    def on_hop(self, result: HopResult) -> None:
        self.write(result.prediction.to_json())


class EventLines(LinesOutput):
    """Writes a line for each change of presence and of the load, and for each model that was taken up or refused."""

    def on_event(self, event: PresenceEvent) -> None:
        self.write(event.to_json())

    def on_load(self, event: LoadEvent) -> None:
        self.write(event.to_json())

    def on_model(self, event: ModelEvent) -> None:
        self.write(event.to_json())


def open_prediction_lines(context: OutputContext) -> None:
    """Write predictions where `output` says: "" writes none, "-" writes them to standard output."""
    if context.config.output:
        predictions = PredictionLines(_open_lines(context, context.config.output), "predictions")
        context.add(predictions)
        context.count("prediction lines lost", lambda: predictions.lost)


def open_event_lines(context: OutputContext) -> None:
    """Write events where `events` says: "" writes none, "-" writes them to standard output."""
    if context.config.events:
        events = EventLines(_open_lines(context, context.config.events), "events")
        context.add(events)
        context.count("event lines lost", lambda: events.lost)


def _open_lines(context: OutputContext, place: str) -> JsonLines:
    return context.stack.enter_context(JsonLines(None if place == "-" else Path(place), append=True))
