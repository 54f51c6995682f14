"""Says which candidates of a part are worth rewriting with ONNX Runtime's own operators (`cpu_rewriting.py`).

Every flavour could be rewritten, and each rewritten graph must be built, checked and timed. So only those are that may
still win: FP32, and the forms of other precisions that are right and not far slower than the fastest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taemi_edge.engines.measuring import Measured
from taemi_edge.engines.part_builder import BuiltPart

#: Fusing made no graph faster than this many times (taemi-mobile; docs/engines.md), so slower ones cannot win by it.
_FAR_SLOWER = 1.5


def worth_fusing(
    built: Sequence[BuiltPart], looked: Measured | None, fault_of: Callable[[BuiltPart], str]
) -> dict[BuiltPart, str]:
    """Say of each candidate why its rewritten form is not tried; "" where it is.

    Args:
        built: the candidates as they are written.
        looked: the faults and first times of all candidates; None where there is only one.
        fault_of: says what is wrong with one.
    """
    if looked is None:
        return dict.fromkeys(built, "")
    right = [b for b in built if not fault_of(b)] or built[:1]
    fastest = min(right, key=lambda b: looked.median_ms(b.name))
    least_ms = looked.median_ms(fastest.name)

    def why_not(one: BuiltPart) -> str:
        if one.precision == "fp32":
            return ""
        if fault_of(one):
            return "not tried: it is left out as it is written"
        ratio = looked.median_ms(one.name) / least_ms
        return f"not tried: as written it takes {ratio:.1f} x the time of {fastest.name}" if ratio > _FAR_SLOWER else ""

    return {b: why_not(b) for b in built}
