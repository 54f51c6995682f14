"""Reports and predictions in, pictures out (the `plot` extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taemi_edge.errors import MissingExtraError, UsageError

#: Okabe and Ito's colours, which colour-blind readers tell apart.
EMOTION_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
STATE_COLOURS = {"live": "#2e9e5b", "stale": "#d9a400", "missing": "#c8453b", "recovering": "#3f7fd0"}
PICTURE_ENDINGS = (".png", ".svg", ".pdf", ".jpg")


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
    return Figure(figsize=size_inches, layout="constrained")
