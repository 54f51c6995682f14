"""What calibration asks of a model's metric beside its value: `taemi_edge.parity.judge` has the value."""

from __future__ import annotations

from collections.abc import Mapping

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec
from taemi_edge.bundle.values import Array
from taemi_edge.parity.comparison import label_flips
from taemi_edge.parity.judge import Judge
from taemi_edge.parity.metrics import CORRELATIONS, METRICS


def follows_pearson(judge: Judge) -> bool:
    """Whether the correlation with FP32 bounds what the metric may lose.

    Labels would then add nothing but their noise where blocks are chosen on few clips.
    """
    return judge.name in CORRELATIONS


def counts_labels(judge: Judge) -> bool:
    """Whether the metric moves in steps of single clips, because it counts labels; of a user's own nobody knows."""
    return judge.name in METRICS and METRICS[judge.name].kind == "classes"


def count_flips(outputs: Mapping[str, OutputSpec], want: Mapping[str, Array], got: Mapping[str, Array]) -> float | None:
    """Give the share of rows whose label differs, of the output in which it is largest.

    Args:
        outputs: of the model.
        want, got: what the head gave, (N, n) by output.

    Returns:
        None where the model has no classes, or there are no rows.

    Example:
        >>> import numpy as np
        >>> outputs = {"valve": ClassesSpec(names=("open", "shut"))}
        >>> count_flips(outputs, {"valve": np.array([[1.0, 0.0], [0.0, 1.0]])}, {"valve": np.array([[1.0, 0], [1, 0]])})
        0.5
    """
    shares = [
        label_flips(want[name], got[name], spec)
        for name, spec in outputs.items()
        if isinstance(spec, ClassesSpec) and len(want[name])
    ]
    return max(shares, default=None)
