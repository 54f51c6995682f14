"""Shows progress on a terminal: a spinner for the stage, and a bar for each thing that is counted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from taemi_edge.cli.options import note
from taemi_edge.cli.tables import make_console
from taemi_edge.cli.typed_addresses import without_addresses
from taemi_edge.errors import in_one_line
from taemi_edge.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

#: The logger that is told how far engines are warmed up (`taemi_edge.runtime.tensorrt.warm_up`).
WARM_UP = "taemi_edge.runtime.warm_up"
#: The logger that is told of threads for which there are no cores (`taemi_edge.runtime.host_way`).
THREADS = "taemi_edge.runtime.threads"

#: The logger that is told of a cluster's workers (`taemi_edge.scale.clusters.crew`).
WORKERS = "taemi_edge.scale"

#: The logger that is told which topics of recordings were chosen (`taemi_edge.corpora.drives`).
DRIVES = "taemi_edge.corpora.drives"

#: The logger that is told what becomes of the recording of a run (`taemi_edge.live.outputs.channels.mcap_file`).
RECORDINGS = "taemi_edge.live"


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """A `Progress` on standard error.

    On a terminal the stage is a spinner and every count a bar with the time left. Elsewhere, as in a log file, a stage
    is a line and counts are silent. What a build warns of is a note on standard error, too, and so are threads without
    a core, what happens to workers of a cluster, what was guessed of recordings, and what becomes of the recording of a
    run; engines that take long to warm up are a stage.
    """
    notes = _heard("taemi_edge.engines", _Notes(logging.WARNING))
    threads = _heard(THREADS, _Notes(logging.WARNING))
    workers = _heard(WORKERS, _Notes(logging.WARNING))
    drives, recordings = _heard(DRIVES, _Notes(logging.WARNING)), _heard(RECORDINGS, _Notes(logging.WARNING))
    with _bars_or_lines() as progress, notes, threads, workers, drives, recordings, _heard(WARM_UP, _Stages(progress)):
        yield progress


@contextmanager
def _heard(name: str, handler: logging.Handler) -> Iterator[None]:
    """Let a handler have what a logger is told."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logger.getEffectiveLevel(), handler.level or logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _bars_or_lines() -> Iterator[Progress]:
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = make_console(stderr=True)
    # rich takes FORCE_COLOR, which notebooks set, for a terminal; bars cannot be redrawn there
    if not sys.stderr.isatty():
        yield _LinesOfStages()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[reached]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield _ShownProgress(bars)


class _Notes(logging.Handler):
    """Writes each warning as a note."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the warning."""
        note(without_addresses(in_one_line(record.getMessage()), sys.argv[1:]))


class _Stages(logging.Handler):
    """Shows each message as a stage."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Show the message."""
        self._progress.stage(in_one_line(record.getMessage()))


class _LinesOfStages:
    """Writes a line for each stage."""

    def stage(self, text: str) -> None:
        """Write the stage."""
        typer.echo(without_addresses(text, sys.argv[1:]), err=True)

    def count(self, done: float, total: float | None, what: str) -> None:
        """Do nothing: a line for every count would fill a log."""


class _ShownProgress:
    """Keeps one bar for the stage and one for each thing that is counted."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._stage: Any = None

    def stage(self, text: str) -> None:
        """Show another stage in place of the last one."""
        if self._stage is not None:
            self._bars.remove_task(self._stage)
        self._stage = self._bars.add_task(without_addresses(text, sys.argv[1:]), total=None, reached="")

    def count(self, done: float, total: float | None, what: str) -> None:
        """Move the bar of `what`, or add it."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, reached="")
        self._bars.update(self._tasks[what], completed=done, total=total, reached=_reached(done, total))


def _reached(done: float, total: float | None) -> str:
    """Seconds of media as "3.5 s", things as "3/14"."""
    if isinstance(done, int):
        return f"{done}/{total}"
    return f"{done:.1f} s"
