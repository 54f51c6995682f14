"""How the threads of a hop are chosen: by whole hops, by a margin, and as the manifest tells it."""

from __future__ import annotations

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.engines import host_plans
from taemi_edge.engines.asked_shapes import declared_layout
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.host_plans import Timed, plan_host
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.engines.usual_hops import usual_hops
from taemi_edge.parity.golden import golden_cases
from taemi_edge.runtime.host_way import HostWay
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.work import Layout

PARTS = ("vision", "audio", "text", "fusion")
ONE, TWO, BOTH = (
    HostWay(dict.fromkeys(PARTS, 1)),
    HostWay(dict.fromkeys(PARTS, 2)),
    HostWay(dict.fromkeys(PARTS, 1), 2),
)


def scripted(monkeypatch: pytest.MonkeyPatch, cores: int, hop_ms, part_ms=None) -> None:
    """Let the clock of hops be a function of the way and the number of sources."""

    def time(self, ways, layout):
        parts = part_ms or (lambda way: dict.fromkeys(PARTS, 1.0))
        return [Timed([hop_ms(way, layout.sources)] * 6, {p: [ms] * 6 for p, ms in parts(way).items()}) for way in ways]

    monkeypatch.setattr(host_plans._Bench, "time", time)
    monkeypatch.setattr(host_plans._Bench, "best_size", lambda self, part: {"vision": 4}.get(part, 0))
    monkeypatch.setattr(host_plans, "usable_cores", lambda: cores)


def planned(bundle: Bundle, sources: int = 1, threads: int = 0):
    files = {part: bundle.part_file(part) for part in bundle.manifest.part_names}
    layout = declared_layout(bundle.manifest, sources)
    return plan_host(bundle, files, golden_cases(bundle), layout, runs=5, threads=threads)


@pytest.mark.parametrize(
    ("one_ms", "two_ms", "both_ms", "threads", "side_by_side"),
    [
        pytest.param(10.0, 9.8, 9.6, 1, False, id="nothing is gained"),
        pytest.param(10.0, 7.0, 9.0, 2, False, id="threads inside the parts"),
        pytest.param(10.0, 7.0, 6.0, 1, True, id="parts side by side"),
        pytest.param(10.0, 7.0, 6.9, 2, False, id="less than the margin"),
        pytest.param(10.0, 15.0, 14.0, 1, False, id="threads that hurt"),
    ],
)
def test_what_needs_more_must_win_by_a_margin(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch, one_ms, two_ms, both_ms, threads, side_by_side
):
    times = {(1, 1): one_ms, (2, 1): two_ms, (1, 2): both_ms}
    scripted(monkeypatch, 2, lambda way, _: times[way.threads["vision"], way.lanes] * (2 if way.pinned else 1))
    plan = planned(tiny)
    assert plan.threads == dict.fromkeys(PARTS, threads)
    assert (plan.side_by_side, plan.pinned, plan.cores, plan.largest) == (side_by_side, False, 2, {"vision": 4})
    assert f"one after the other with 2 threads {two_ms:.3g} ms" in plan.how
    assert "a hop of 4 sources: " in plan.how


def test_pinned_lanes_must_win_by_more(tiny: Bundle, monkeypatch: pytest.MonkeyPatch):
    for gain, pinned in ((0.95, False), (0.8, True)):
        scripted(monkeypatch, 2, lambda way, _, gain=gain: 10 / way.lanes * (gain if way.pinned else 1.0))
        assert planned(tiny).pinned is pinned


def test_a_part_that_gains_from_more_threads_gets_them(tiny: Bundle, monkeypatch: pytest.MonkeyPatch):
    """One after the other, audio alone gains; a mixed way is then timed as a whole, and kept as it wins."""

    def parts(way):
        return {part: 4.0 / way.threads[part] if part == "audio" else 4.0 + way.threads[part] for part in PARTS}

    scripted(monkeypatch, 4, lambda way, _: sum(parts(way).values()) * (2 if way.lanes > 1 else 1), parts)
    plan = planned(tiny)
    assert plan.threads == {"vision": 1, "audio": 4, "text": 1, "fusion": 1}
    assert "1 thread (audio 4)" in plan.how


def test_beside_lanes_the_head_may_take_all_cores(tiny: Bundle, monkeypatch: pytest.MonkeyPatch):
    def parts(way):
        return {**dict.fromkeys(PARTS, 4.0), "fusion": 8.0 / way.threads["fusion"]}

    def hop_ms(way, _):
        return 12 / way.lanes + parts(way)["fusion"] + (5 if way.pinned else 0)

    scripted(monkeypatch, 2, hop_ms, parts)
    plan = planned(tiny)
    assert plan.threads == {"vision": 1, "audio": 1, "text": 1, "fusion": 2}
    assert plan.side_by_side


def test_lanes_of_several_threads_may_be_the_best(tiny: Bundle, monkeypatch: pytest.MonkeyPatch):
    """Of 12 cores three lanes take four threads each, a count that no way without lanes has."""
    scripted(monkeypatch, 12, lambda way, _: 100 / way.lanes / way.threads["vision"] ** 2 + 9 * way.pinned)
    plan = planned(tiny)
    assert (plan.threads["vision"], plan.side_by_side) == (12, False)
    scripted(monkeypatch, 12, lambda way, _: 100.0 - (50 if way.lanes > 1 and way.threads["vision"] > 1 else 0))
    plan = planned(tiny)
    assert (plan.threads, plan.side_by_side, plan.pinned) == (dict.fromkeys(PARTS, 4), True, False)


def test_a_part_that_no_usual_hop_runs_keeps_its_threads(tiny: Bundle, monkeypatch: pytest.MonkeyPatch):
    scripted(monkeypatch, 2, lambda way, _: 5.0 * way.lanes, lambda way: {"vision": 1.0, "audio": 1.0, "fusion": 1.0})
    assert planned(tiny).threads == dict.fromkeys(PARTS, 1)


@pytest.mark.parametrize(("cores", "threads"), [(1, 0), (8, 1)])
def test_with_one_core_there_is_one_way(tiny: Bundle, monkeypatch: pytest.MonkeyPatch, cores, threads):
    scripted(monkeypatch, cores, lambda way, _: 3.0)
    plan = planned(tiny, threads=threads)
    assert (plan.threads, plan.side_by_side, plan.cores) == (dict.fromkeys(PARTS, 1), False, 1)
    assert plan.how == (
        "the only way with 1 core; whole usual hops of 1 source: one after the other with 1 thread 3 ms"
    )


def test_the_faster_half_of_the_turns_counts():
    quiet, hindered = Timed([1.0, 1.1, 1.2, 9.0, 9.0]), Timed([1.3, 1.3, 1.3, 1.3, 1.3])
    assert quiet.typical_ms == 1.1
    assert host_plans._fastest([ONE, TWO], [hindered, quiet], 0.05) == TWO
    assert host_plans._fastest([ONE, BOTH], [quiet, hindered], 0.05) == ONE


def test_hops_of_a_model_are_timed_for_real(tiny: Bundle):
    """What comes out depends on the machine; that it holds together does not."""
    plan = planned(tiny, sources=2)
    assert set(plan.threads) == set(PARTS)
    assert set(plan.largest) <= set(tiny.manifest.streams)
    assert "whole usual hops of 2 sources" in plan.how


def test_a_usual_hop_has_what_the_rates_say(tiny: Bundle):
    layout = Layout(2, 4.0, 0.5)
    executor = open_executor(tiny, layout, "cpu", 1)
    hops = usual_hops(tiny.manifest, layout, executor, golden_cases(tiny))
    counts = [{name: len(items) for name, items in work.items.items()} for hop in hops for work in hop]
    assert counts == [{"vision": 2, "audio": 1}] * 2 + [{"vision": 3, "audio": 1, "text": 1}] * 2
    for hop in hops:
        assert all(result.outputs and not result.faults for result in executor.execute(hop))
    executor.close()


def test_engines_keep_the_plan_and_runs_take_it(tiny_folder, tmp_path, monkeypatch: pytest.MonkeyPatch):
    scripted(monkeypatch, 2, lambda way, _: 10 / way.lanes + (9 if way.pinned else 0))
    monkeypatch.setattr("taemi_edge.runtime.host_way.usable_cores", lambda: 2)
    cpu = msgspec.structs.replace(load_recipe("engines", "cpu", TargetRecipe), precisions=("fp32",), forms=(), runs=2)
    build_engine(tiny_folder, cpu, "auto", tmp_path / "built")
    bundle = open_bundle(tmp_path / "built")
    plan = bundle.manifest.engine.host
    assert plan.side_by_side
    assert plan.threads == dict.fromkeys(PARTS, 1)
    for threads, lanes in ((None, 2), (1, 1)):
        with Pipeline(bundle, threads=threads) as pipeline:
            assert pipeline.fleet.executor._lanes.count == lanes


def test_one_precision_for_all_keeps_no_plan(tiny_folder, tmp_path):
    built = build_engine(tiny_folder, "cpu", "fp32", tmp_path / "built")
    assert not built.record.host
    assert '"host"' not in (tmp_path / "built" / "manifest.json").read_text()
