"""Reports and predictions in, pictures out (the `plot` extra)."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path
from typing import Any

from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.palette import series_colours

#: Okabe and Ito's colours, for the few things of a plot that are the same in each: a loss, a score, what was kept.
SERIES_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
#: Of matplotlib, for the first eight series, the next eight, and so on: of many colours some are near each other.
LINE_STYLES: tuple[Any, ...] = (
    *("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2.5, 1))),
    *((0, (8, 3)), (0, (4.5, 1.5, 1, 1.5, 1, 1.5))),
)
_ONE_STYLE = 8
STATE_COLOURS = {"live": "#2e9e5b", "stale": "#d9a400", "missing": "#c8453b", "recovering": "#3f7fd0"}
#: Longer names lose their middle on an axis.
_LONGEST_NAME = 28
#: So many letters of a note fit beside each other, also wide ones.
_NOTE_PER_INCH = 12
PICTURE_ENDINGS = (".png", ".svg", ".pdf", ".jpg")


def series_line(index: int, count: int) -> dict[str, Any]:
    """The colour and the line of one of so many series, as keywords of matplotlib's `plot`.

    >>> series_line(0, 2)["linestyle"], series_line(0, 9)["color"] == series_line(8, 9)["color"]
    ('-', False)
    """
    style = LINE_STYLES[index // _ONE_STYLE % len(LINE_STYLES)]
    return {"color": series_colours(count)[index], "linestyle": style}


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255 of a colour that is written as #rrggbb.

    >>> rgb("#0072B2")
    (0, 114, 178)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def add_note(figure: Any, note: str) -> None:
    """Write small lines below the plots of a figure, which make room for them; "" writes none."""
    if note:
        lines = "\n".join(textwrap.wrap(note, int(figure.get_figwidth() * _NOTE_PER_INCH)))
        figure.supxlabel(literal(lines), x=0.99, ha="right", fontsize=8, color="0.35")


def literal(text: str) -> str:
    r"""A text as matplotlib draws it letter by letter: two dollars would begin and end a formula.

    >>> literal("from $5 to $10")
    'from \\$5 to \\$10'
    """
    return text.replace("$", r"\$")


def short_label(name: str) -> str:
    """A name for an axis or a legend: in words, literal, and without its middle where it is long.

    >>> short_label("left_shoulder_angular_velocity_x")
    'left shoulder …ar velocity x'
    """
    words, half = name.replace("_", " "), _LONGEST_NAME // 2
    return literal(words if len(words) <= _LONGEST_NAME else f"{words[:half]}…{words[1 - half :]}")


def check_plot_file(file: Path | None, option: str = "--plot") -> None:
    """Refuse a picture that could not be written, before the long work starts.

    Raises:
        UsageError: an ending that is no picture's. MissingExtraError: matplotlib is not installed.
    """
    if file is None:
        return
    if file.suffix.lower() not in PICTURE_ENDINGS:
        raise UsageError(f"{option} {file}: expected a file that ends in {', '.join(PICTURE_ENDINGS)}")
    new_figure((1, 1), option)


def new_figure(size_inches: tuple[float, float], option: str = "--plot") -> Any:
    """A figure without a window.

    Raises:
        MissingExtraError: matplotlib is not installed; `option` is what asked for a picture.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "plot", option) from error
    # a logarithmic axis asks for a font that some installations lack, and the one in its place is as good
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    return Figure(figsize=size_inches, layout="constrained")
