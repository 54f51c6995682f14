"""The plot of a replay is written for every shape of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from taemi_edge.parity.replay import ReplayedHop
from taemi_edge.parity.replay_plot import _pairs, plot_replay
from taemi_edge.runtime.timeline import outputs_of
from tests.parity.test_prediction_differences import predicted


def hops_of(count: int, **groups: Any) -> list[ReplayedHop]:
    return [
        ReplayedHop(
            predicted({n: make(at, 0.0) for n, make in groups.items()}, float(at), imu="live"),
            predicted({n: make(at, 0.5) for n, make in groups.items()}, float(at), imu="stale"),
        )
        for at in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 4])
def test_numbers_and_classes_are_drawn(tmp_path: Path, count: int):
    hops = hops_of(
        count,
        pull=lambda at, more: {"x": at + more},
        door=lambda at, more: {"best": "open", "probabilities": {"open": more, "shut": 1 - more}},
        sometimes=lambda at, more: None if at == 1 else {"y": more},
    )
    plot_replay(hops, tmp_path / "r.png", "from $5 to $10")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_of_many_numbers_those_that_are_furthest_apart_are_drawn():
    hops = hops_of(3, many=lambda at, more: {f"n{i}": more * i for i in range(20)})
    [pair] = _pairs(hops, outputs_of([hop.new for hop in hops]))
    assert pair.names == tuple(f"n{i}" for i in range(12, 20))
