"""Candidates are timed as the runtime runs them; on stand-ins for a GPU, which say nothing about how fast they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.engines.measuring import Measuring
from taemi_edge.engines.part_builder import BuiltPart
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.engines.profiles import all_profiles, hop_shapes
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.engines.timers import Runs, SessionTimer, engine_timers, stretched, time_in_turn
from taemi_edge.engines.variants import Variant
from taemi_edge.parity.golden import golden_cases, usual_case
from taemi_edge.runtime.tensorrt.machine import this_machine
from tests.runtime.tensorrt import stand_in_gpu


def target(backend: str, sources: int) -> TargetRecipe:
    return TargetRecipe(name="mine", backend=backend, sources=sources, runs=2)


def install(bundle: Bundle, recipe: TargetRecipe, monkeypatch: pytest.MonkeyPatch, graphs: bool = True) -> None:
    """Stand-ins for a GPU and for engines with the profiles that the recipe gives them."""
    by_part = all_profiles(bundle.manifest, recipe, golden_cases(bundle))
    most = {name: span for found in by_part.values() for name, span in found[-1].items()}
    stand_in_gpu.install(monkeypatch, most | {"batch": (1, 1, 2 * recipe.sources)}, graphs)


def candidates(bundle: Bundle, part: str) -> list[BuiltPart]:
    return [BuiltPart(part, Variant(p, p), bundle.part_file(part), p, 0.0) for p in ("fp32", "fp16")]


@pytest.mark.parametrize(
    ("part", "shapes"),
    [
        ("vision", [{"pixels": (size, 32, 32, 3)} for size in (32, 40, 48)]),
        ("audio", [{"samples": (16, 16_000)}]),
        ("text", [{"ids": (size, 32), "mask": (size, 32)} for size in (4, 16)]),
    ],
)
def test_what_is_timed_for_sixteen_sources_is_what_their_hops_bring(tiny: Bundle, part: str, shapes: list):
    assert hop_shapes(tiny.manifest, target("tensorrt", 16), golden_cases(tiny), part) == shapes


def test_the_head_is_timed_on_the_rings_of_all_sources(tiny: Bundle):
    [shapes] = hop_shapes(tiny.manifest, target("tensorrt", 16), golden_cases(tiny), "fusion")
    assert {name: shape[:2] for name, shape in shapes.items() if "mask" not in name} == {
        "vision": (16, 23),
        "audio": (16, 241),
        "text": (16, 65),
    }


@pytest.mark.parametrize("graphs", [True, False])
def test_an_engine_is_timed_captured_and_without_a_copy(tiny: Bundle, monkeypatch, graphs: bool):
    recipe, cases = target("tensorrt", 4), golden_cases(tiny)
    install(tiny, recipe, monkeypatch, graphs)
    shapes = hop_shapes(tiny.manifest, recipe, cases, "vision")
    feeds = [stretched(each, usual_case(cases, "vision").feeds) for each in shapes]
    copies: list[int] = []
    copy = stand_in_gpu.Device.copy
    monkeypatch.setattr(stand_in_gpu.Device, "copy", lambda self, *given: (copies.append(1), copy(self, *given)))
    with engine_timers("tensorrt", tiny.manifest, candidates(tiny, "vision"), feeds) as timers:
        assert list(timers) == ["fp32", "fp16"]
        copies.clear()
        for timer in timers.values():
            assert min(timer.run_ms() for _ in range(3)) > 0
            assert len(timer._graphs) == (len(shapes) if graphs else 0)
            assert timer.how.startswith(
                "on the device, as CUDA graphs" if graphs else "on the device, uncaptured: cuda"
            )
    assert not copies


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("tensorrt", "frames 8 or frames 10 or frames 12; on the device, as CUDA graphs"),
        ("onnxruntime-cpu", "frames 8 or frames 10 or frames 12; by runs of the session"),
    ],
)
def test_a_measurement_says_at_which_shapes_it_was_made(tiny: Bundle, monkeypatch, backend: str, words: str):
    recipe = target(backend, 4)
    if recipe.is_tensorrt:
        install(tiny, recipe, monkeypatch)
    machine = this_machine(with_gpu=False)
    plan = BuildPlan(Path(tiny.folder), tiny.manifest, recipe, "auto", "stand-in 0", machine, 1)
    found = Measuring(plan, tiny, golden_cases(tiny), None).measure(candidates(tiny, "vision"))
    assert found.timed == words
    turns = 2 if recipe.is_tensorrt else 10
    assert {name: len(times) for name, times in found.times_ms.items()} == {"fp32": turns, "fp16": turns}
    assert found.faults == {"fp32": "", "fp16": ""}


class _Clock:
    """A timer whose runs take what they are told to."""

    how = "by a clock"

    def __init__(self, *times_ms: float) -> None:
        self._times_ms = iter(times_ms)

    def run_ms(self) -> float:
        return next(self._times_ms)


def test_a_short_part_is_timed_more_often():
    told: list[tuple[int, int]] = []
    clocks = {"slow": _Clock(9.0, *[4.0] * 6), "fast": _Clock(9.0, *[2.0] * 6)}
    times = time_in_turn(clocks, Runs(2, warm_up=1, enough_ms=54.0, most=3), lambda *turn: told.append(turn))
    assert times == {"slow": [4.0] * 6, "fast": [2.0] * 6}
    assert told[0] == (1, 7)
    assert told[-1] == (7, 7)
    assert time_in_turn({}, Runs(2), lambda *turn: told.append(turn)) == {}


def test_feeds_of_another_shape_repeat_the_golden_ones():
    golden = {"front": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "front_mask": np.array([[1, 0]], np.int32)}
    found = stretched({"front": (2, 3, 3), "front_mask": (2, 3)}, golden)
    assert found["front"].tolist() == [[[0, 1, 2], [3, 4, 5], [0, 1, 2]]] * 2
    assert found["front_mask"].tolist() == [[1, 1, 1]] * 2
    assert found["front"].flags.c_contiguous


@pytest.mark.parametrize(("mixes", "rows"), [(False, [2, 3]), (True, [1, 1, 1, 1, 1])])
def test_rows_that_would_change_each_other_are_timed_one_by_one(mixes: bool, rows: list[int]):
    class Counting:
        mixes_rows = mixes

        def __init__(self) -> None:
            self.rows: list[int] = []

        def run(self, feeds):
            self.rows.append(len(feeds["x"]))
            return {}

        def close(self) -> None:
            pass

    session = Counting()
    timer = SessionTimer(session, [{"x": np.zeros((2, 4))}, {"x": np.zeros((3, 4))}])
    assert timer.run_ms() >= 0
    assert session.rows == rows
    assert timer.how.endswith("row by row") == mixes
