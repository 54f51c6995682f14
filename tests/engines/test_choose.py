"""Auto times every precision of every part and keeps the fastest that is allowed."""

from __future__ import annotations

import pytest

from taemi_edge.bundle.folder import CHOICE, replaceable_files
from taemi_edge.engines.choose import fastest_worth_it


def test_auto_times_every_precision_of_every_part_and_says_why(built):
    record = built.record
    assert built.bundle.manifest.verified
    assert {entry.name for entry in built.bundle.folder.iterdir()} <= replaceable_files(built.bundle.folder)
    for part in built.bundle.manifest.part_names:
        candidates = [c for c in record.candidates if c.part == part]
        assert {c.precision for c in candidates if c.median_ms} - {"bf16"} == {"fp32", "fp16", "int8"}  # BF16 on ARM
        (kept,) = [c for c in candidates if c.kept]
        assert kept.precision == built.bundle.manifest.parts[part].precision
        assert all(c.reason for c in candidates)
        timed = [c for c in candidates if c.median_ms]
        inside = [c.median_ms for c in timed if not c.reason.startswith(("outside", "Pearson", "mean"))]
        assert kept.median_ms * 0.95 <= min(inside)
    assert (built.bundle.folder / CHOICE).stat().st_size > 5_000


@pytest.mark.parametrize(
    ("medians", "kept"),
    [
        ({"fp32": 10.0, "fp16": 9.8, "int8": 9.7}, "fp32"),
        ({"fp32": 10.0, "fp16": 5.0, "int8": 4.9}, "fp16"),
        ({"fp32": 10.0, "fp16": 9.8, "int8": 5.0}, "int8"),
        ({"fp16": 10.0, "int8": 20.0}, "fp16"),
    ],
)
def test_a_lower_precision_must_be_worth_it(medians, kept):
    assert fastest_worth_it(medians, 0.05) == kept
