"""The options of commands that read recordings of robots as a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taemi_edge.errors import OptionError

if TYPE_CHECKING:
    from taemi_edge.corpora.drive_ranges import DriveOptions

CutOption = Annotated[
    float | None,
    typer.Option(
        "--cut", metavar="S", help="Recordings: how long the clips are that they are cut into  [default: the window]"
    ),
]
_LEAST_CUT_S, _MOST_CUT_S = 0.01, 3600.0


def drive_options(topics: list[str] | None, clock: str, cut_s: float | None = None) -> DriveOptions:
    """How recordings are read, as the options say.

    Args:
        topics: the values of `--map`.
        clock: the value of `--clock`.
        cut_s: the value of `--cut`.

    Raises:
        OptionError: there is no such clock, or clips are too short or too long.
        UsageError: an entry of `--map` is none.
        RecipeError: a file of `--map` cannot be read.
    """
    from taemi_edge.corpora.drive_ranges import DriveOptions
    from taemi_edge.media.recordings.recorded_clock import clock_named
    from taemi_edge.media.recordings.topic_map import read_map

    if cut_s is not None and not _LEAST_CUT_S <= cut_s <= _MOST_CUT_S:
        raise OptionError(
            "cut", "--cut", f"{cut_s:g}: expected seconds from {_LEAST_CUT_S:g} to {_MOST_CUT_S:g}, for each clip"
        )
    return DriveOptions(read_map(topics) if topics else {}, clock_named(clock), cut_s)
