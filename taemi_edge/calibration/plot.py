"""Drawing what INT8 costs and saves in each block of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.calibration.sensitivity import PartSensitivity
from taemi_edge.pictures import (
    SERIES_COLOURS,
    literal,
    new_figure,
)


def plot_sensitivity(sensitivities: Mapping[str, PartSensitivity], title: str, file: Path) -> None:
    """Draw for each part what INT8 saves and costs in every block, and the cost as blocks leave INT8.

    Args:
        sensitivities: what was measured, by part.
        title: of the whole picture.
        file: the picture; its ending names the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    columns = min(2 if len(sensitivities) <= 4 else 3, len(sensitivities))
    rows = -(-len(sensitivities) // columns)
    figure = new_figure((6 * columns, 4 * rows), "taemi-edge calibrate")
    figure.suptitle(literal(title))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(sensitivities) :]:
        axis.set_axis_off()
    for axis, (part, found) in zip(axes, sensitivities.items(), strict=False):
        for kept, colour, label in ((True, SERIES_COLOURS[0], "INT8"), (False, SERIES_COLOURS[1], "left out")):
            blocks = [b for b in found.blocks if (b.excluded is None) == kept]
            shares = [100 * b.macs_share for b in blocks]
            costs = [max(b.cost, 1e-7) for b in blocks]
            axis.scatter(shares, costs, 22, color=colour, label=f"{label}: {len(blocks)} blocks", zorder=3)
        for block in sorted(found.blocks, key=lambda b: -b.cost)[:6]:
            place = (100 * block.macs_share, max(block.cost, 1e-7))
            axis.annotate(block.block, place, fontsize=7, xytext=(4, 3), textcoords="offset points")
        path = [(100 * share, max(cost, 1e-7)) for share, cost in found.steps]
        axis.plot(*zip(*path, strict=True), "k.--", linewidth=1, label="the part as blocks leave INT8")
        axis.set(yscale="log", title=part, xlabel="multiply-accumulates in INT8, %", ylabel="1 - Pearson with FP32")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)
