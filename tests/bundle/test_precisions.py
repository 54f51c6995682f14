"""One list of precisions: everything that has a table of them has all of them."""

from __future__ import annotations

from typing import get_args

from taemi_edge.bundle.precisions import (
    FLAVOURS,
    FLAVOURS_OF,
    PRECISIONS,
    QUANTISED,
    WEIGHT_BYTES,
    RequestedPrecision,
)


def test_every_precision_has_flavours_and_every_flavour_is_of_one_precision():
    assert tuple(FLAVOURS_OF) == PRECISIONS
    assert tuple(flavour for precision in PRECISIONS for flavour in FLAVOURS_OF[precision]) == FLAVOURS
    assert tuple(WEIGHT_BYTES) == PRECISIONS
    assert set(QUANTISED) < set(PRECISIONS)


def test_a_build_may_ask_for_each_of_them():
    assert get_args(RequestedPrecision) == ("auto", *PRECISIONS)
