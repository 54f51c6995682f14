"""Says which candidates of a part are worth rewriting with ONNX Runtime's own operators (`cpu_rewriting.py`).

Every flavour could be rewritten, and each rewritten graph must be built, checked and timed. So only those are that may
still win: FP32, and the forms of other precisions that are right and not far slower than the fastest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taemi_edge.engines.measuring import Measured
from taemi_edge.engines.part_builder import BuiltPart

#: What is so many times slower than the fastest is not rewritten: no graph of taemi-mobile gained more than 1.25 times
#: by it, most far less (docs/evidence/engines.md).
_FAR_SLOWER = 1.5
#: How many forms of one precision are rewritten, the fastest ones.
_MOST = 2


def worth_fusing(
    built: Sequence[BuiltPart], looked: Measured | None, fault_of: Callable[[BuiltPart], str]
) -> dict[BuiltPart, str]:
    """Say of each candidate why its rewritten form is not tried; "" where it is.

    Args:
        built: the candidates as the bundle has their graphs.
        looked: the faults and first times of all candidates; None where there is only one.
        fault_of: says what is wrong with one.
    """
    if looked is None:
        return dict.fromkeys(built, "")
    right = [b for b in built if not fault_of(b)] or built[:1]
    in_order = sorted(right, key=lambda b: looked.median_ms(b.name))
    fastest = in_order[0]
    least_ms = looked.median_ms(fastest.name)

    def why_not(one: BuiltPart) -> str:
        if one.precision == "fp32":
            return ""
        if one not in right:
            return f"not tried: {one.name} is left out"
        if (ratio := looked.median_ms(one.name) / least_ms) > _FAR_SLOWER:
            return f"not tried: {one.name} takes {ratio:.1f} x the time of {fastest.name}"
        faster = [b.name for b in in_order[: in_order.index(one)] if b.precision == one.precision]
        return f"not tried: {' and '.join(faster[:_MOST])} are faster" if len(faster) >= _MOST else ""

    return {b: why_not(b) for b in built}
