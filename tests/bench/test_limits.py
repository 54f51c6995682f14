"""The least time of a part, and what of its operations is done in which type."""

from __future__ import annotations

import msgspec
import pytest

pytest.importorskip("onnx", reason="graphs are counted with onnx")

from taemi_edge.bench import limits
from taemi_edge.bench.limits import with_limit
from taemi_edge.bench.report import OURS, PartTimes, Timing, stats_of
from taemi_edge.bundle.folder import Bundle

TIMES = PartTimes(part="text", batch=1, timings=(Timing(contender=OURS, wall=stats_of([2.0])),))
CEILINGS = {"copy_gb_s": 1e6, "fp32_tflop_s": 0.1, "int8_tflop_s": 0.4}


def test_fp32_is_held_against_the_rate_of_fp32(tiny: Bundle):
    found = with_limit(TIMES, tiny, CEILINGS)
    assert found.operations_by == {"fp32": found.operations}
    assert found.limit_ms == pytest.approx(1e3 * found.operations / 0.1e12, rel=1e-2)
    assert found.share == found.fp32_share == pytest.approx(found.limit_ms / 2.0, abs=1e-4)


@pytest.mark.parametrize(("integer", "faster"), [(0.0, 1.0), (1e12, 4.0)])
def test_int8_is_held_against_each_rate_by_its_operations(calibrated: Bundle, monkeypatch, integer, faster):
    """A graph that is computed as it is written has none in whole numbers, and never more than there are."""
    monkeypatch.setattr(limits, "_integer_operations", lambda *_: integer)
    assert calibrated.manifest.parts["text"].precision == "int8"
    slow = msgspec.structs.replace(TIMES, batch=1000)
    found = with_limit(slow, calibrated, CEILINGS)
    assert sum(found.operations_by.values()) == found.operations
    assert found.operations_by.keys() == ({"int8"} if integer else {"fp32"})
    assert found.fp32_share / found.share == pytest.approx(faster, rel=0.01)


def test_whole_numbers_are_counted_in_what_onnx_runtime_makes_of_a_graph(calibrated: Bundle):
    """How many there are depends on the processor."""
    found = with_limit(TIMES, calibrated, CEILINGS)
    assert found.limit_ms > 0
    assert 0 <= found.operations_by.get("int8", 0.0) <= found.operations


def test_a_machine_without_measured_rates_has_no_limit(tiny: Bundle):
    assert with_limit(TIMES, tiny, {}) == TIMES
