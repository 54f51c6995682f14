"""How far two predictions are apart: numbers, labels, presence, and what only one of the two has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.parity.prediction_differences import DifferenceCounter, differences_json, number_changes
from taemi_edge.runtime.prediction import Prediction


def predicted(outputs: dict[str, Any], time_s: float = 1.0, **presence: str) -> Prediction:
    return Prediction(
        source="", time_s=time_s, window_s=(0.0, time_s), outputs=outputs, presence=presence or {"imu": "live"},
        age_ms={}, latency_ms={}, reason={}, status="ok",
    )  # fmt: skip


def found_of(*pairs: tuple[Prediction, Prediction]) -> Any:
    counter = DifferenceCounter()
    for recorded, new in pairs:
        counter.add(recorded, new)
    return counter.differences()


def test_numbers_are_compared_by_name():
    found = found_of(
        (predicted({"pull": {"x": 1.0, "y": 2.0}}, 1.0), predicted({"pull": {"x": 1.5, "z": 0.0}}, 1.0)),
        (predicted({"pull": {"x": 2.0, "y": 2.0}}, 2.0), predicted({"pull": {"x": 1.0, "z": 0.0}}, 2.0)),
    )
    group = found.groups["pull"]
    assert (group.only_recorded, group.only_new) == (("y",), ("z",))
    assert (group.numbers["x"].mean, group.numbers["x"].largest, group.numbers["x"].at_s) == (0.75, 1.0, 2.0)
    assert (group.numbers["x"].pearson, found.largest, group.labels) == (-1.0, 1.0, 0)


def test_labels_are_the_best_class_or_those_that_are_present():
    def door(best: str, share: float) -> dict[str, Any]:
        return {"door": {"best": best, "probabilities": {"open": share, "shut": 1 - share}}}

    def tags(*present: str) -> dict[str, Any]:
        return {"tags": {"best": "a", "probabilities": {"a": 0.5}, "present": list(present)}}

    one = found_of((predicted(door("open", 0.6)), predicted(door("shut", 0.4))))
    assert (one.groups["door"].labels, one.groups["door"].changed) == (1, 1)
    assert one.largest == pytest.approx(0.2)
    other = found_of((predicted(tags("a")), predicted(tags("a"))), (predicted(tags("a")), predicted(tags())))
    assert (other.groups["tags"].labels, other.groups["tags"].changed) == (2, 1)


def test_presence_is_counted_by_what_became_what():
    found = found_of(
        (predicted({}, imu="live", eye="live"), predicted({}, imu="missing", eye="live")),
        (predicted({}, imu="live", eye="live"), predicted({}, imu="live", eye="live")),
    )
    assert found.presence["imu"].hops == {("live", "missing"): 1, ("live", "live"): 1}
    assert (found.presence["imu"].changed, found.presence["eye"].changed, found.largest) == (1, 0, None)
    assert differences_json(found)["presence"]["imu"] == {"changed": 1, "hops": {"live>live": 1, "live>missing": 1}}


def test_hops_in_which_one_predicts_nothing_are_counted():
    both, none = {"pull": {"x": 1.0}}, {"pull": None}
    found = found_of(*((predicted(a), predicted(b)) for a in (both, none) for b in (both, none)))
    assert (found.hops, found.predicted) == (4, (1, 1, 1))
    assert found.groups["pull"].numbers["x"].hops == 1
    assert number_changes(predicted(both), predicted(none)) == {"pull": {}}


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)), min_size=2, max_size=30),
    st.floats(-1e6, 1e6, width=32),
)
def test_what_is_summed_is_what_arrays_would_give(pairs: list[tuple[float, float]], offset: float):
    moved = [(a + offset, b + offset) for a, b in pairs]
    found = (
        found_of(*((predicted({"g": {"n": a}}), predicted({"g": {"n": b}})) for a, b in moved)).groups["g"].numbers["n"]
    )
    a, b = np.array(moved).T
    assert found.mean == pytest.approx(np.abs(a - b).mean(), rel=1e-6, abs=1e-6)
    assert found.largest == pytest.approx(np.abs(a - b).max())
    if a.std() > 1e-2 and b.std() > 1e-2:
        assert found.pearson == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)
