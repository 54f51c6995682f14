"""Drawing the choice of `--precision auto`: how fast each precision of each part was, and which one was kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.records import Candidate
from taemi_edge.pictures import SERIES_COLOURS, literal, new_figure


def plot_choice(candidates: Sequence[Candidate], title: str, file: Path) -> None:
    """Draw the time of every candidate, part by part, with the reason why it was kept or not.

    Args:
        candidates: of all parts; those that were not timed are left out.
        title: of the picture.
        file: the picture; its ending names the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: there is no room or no permission.
    """
    timed = [c for c in candidates if c.median_ms is not None]
    figure = new_figure((11, 0.45 * len(timed) + 1.6), "taemi-edge build-engine --precision auto")
    axis = figure.subplots()
    for row, found in enumerate(timed):
        median = found.median_ms or 0.0
        colour = SERIES_COLOURS[2] if found.kept else "0.75"
        axis.barh(row, median, color=colour)
        axis.plot([median, found.p95_ms or median], [row, row], color="0.3", linewidth=1)
        axis.annotate(f"  {median:.3g} ms: {found.reason}", (found.p95_ms or median, row), va="center", fontsize=8)
    axis.set_yticks(range(len(timed)), [f"{c.part} {c.name}" for c in timed])
    axis.invert_yaxis()
    longest = max((c.p95_ms or 0.0) for c in timed)
    axis.set(
        xlabel="median ms of an ordinary hop (line: to the 95th percentile)",
        title=literal(title),
        xlim=(0, 1.9 * longest),
    )
    axis.grid(axis="x", alpha=0.25)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)
