"""The options of commands that read recordings of robots as a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.errors import OptionError

if TYPE_CHECKING:
    from taemi_edge.corpora.drive_ranges import DriveOptions

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=TOPIC|F.toml",
        help="Recordings: the topic of a stream, such as eye=/camera/image_raw; repeatable, or a file with [streams] "
        "[default: by the types of messages]",
    ),
]
ClockOption = Annotated[
    str | None,
    typer.Option(
        "--clock", metavar="header|log", help="Recordings: stamps of messages, or the times when they were logged."
    ),
]
CutOption = Annotated[
    float | None,
    typer.Option(
        "--cut", metavar="S", help="Recordings: how long the clips are that they are cut into  [default: the window]"
    ),
]
_CLOCKS = ("auto", "header", "log")
_LEAST_CUT_S, _MOST_CUT_S = 0.01, 3600.0


def drive_options(topics: list[str] | None, clock: str | None, cut_s: float | None = None) -> DriveOptions:
    """How recordings are read, as the options say.

    Raises:
        OptionError: there is no such clock, or clips are too short or too long.
        UsageError: an entry of `--map` is none.
        RecipeError: a file of `--map` cannot be read.
    """
    from taemi_edge.corpora.drive_ranges import DriveOptions
    from taemi_edge.media.recordings.topic_map import read_map

    if clock is not None and clock not in _CLOCKS:
        raise OptionError("clock", "--clock", f"{clock!r:.40}: expected header, log or auto")
    if cut_s is not None and not _LEAST_CUT_S <= cut_s <= _MOST_CUT_S:
        raise OptionError(
            "cut", "--cut", f"{cut_s:g}: expected seconds from {_LEAST_CUT_S:g} to {_MOST_CUT_S:g}, for each clip"
        )
    known = "header" if clock == "header" else "log" if clock == "log" else None
    return DriveOptions(read_map(topics) if topics else {}, known, cut_s)
