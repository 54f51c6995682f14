"""Drawing what a quantised precision costs and saves in each block of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.precisions import QuantisedPrecision
from taemi_edge.calibration.sensitivity import PartSensitivity
from taemi_edge.pictures import (
    SERIES_COLOURS,
    literal,
    new_figure,
)


def plot_sensitivity(
    sensitivities: Mapping[QuantisedPrecision, Mapping[str, PartSensitivity]], title: str, file: Path
) -> None:
    """Draw for each precision and part what every block saves and costs, and the cost as blocks are left out.

    Args:
        sensitivities: what was measured, by precision and part.
        title: of the whole picture.
        file: the picture; its ending names the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels = [(precision.upper(), *each) for precision, parts in sensitivities.items() for each in parts.items()]
    columns = min(2 if len(panels) <= 4 else 3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure((6 * columns, 4 * rows), "taemi-edge calibrate")
    figure.suptitle(literal(title))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (name, part, found) in zip(axes, panels, strict=False):
        for kept, colour, label in ((True, SERIES_COLOURS[0], name), (False, SERIES_COLOURS[1], "left out")):
            blocks = [b for b in found.blocks if (b.excluded is None) == kept]
            shares = [100 * b.macs_share for b in blocks]
            costs = [max(b.cost, 1e-7) for b in blocks]
            axis.scatter(shares, costs, 22, color=colour, label=f"{label}: {len(blocks)} blocks", zorder=3)
        for block in sorted(found.blocks, key=lambda b: -b.cost)[:6]:
            place = (100 * block.macs_share, max(block.cost, 1e-7))
            axis.annotate(block.block, place, fontsize=7, xytext=(4, 3), textcoords="offset points")
        path = [(100 * share, max(cost, 1e-7)) for share, cost in found.steps]
        axis.plot(*zip(*path, strict=True), "k.--", linewidth=1, label=f"the part as blocks leave {name}")
        shown = part if len(sensitivities) == 1 else f"{part} in {name}"
        label = f"multiply-accumulates in {name}, %"
        axis.set(yscale="log", title=shown, xlabel=label, ylabel="1 - Pearson with FP32")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8, loc="upper left")  # "best" warns where a machine is busy
    with new_file(file) as draft:
        figure.savefig(draft, dpi=110)
