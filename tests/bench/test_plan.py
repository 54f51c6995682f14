"""Timing contenders in turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from taemi_edge.bench.options import TURNS, BenchOptions
from taemi_edge.bench.plan import BenchPlan
from taemi_edge.bench.report import OURS
from taemi_edge.bench.worker import Answer, Request
from taemi_edge.bundle.folder import Bundle


@dataclass
class StandIn:
    """A contender whose every run takes the same time; it may fail at its second turn."""

    ms: float
    log: list[str]
    name: str
    fails: bool = False
    turns: int = 0
    ceilings: dict[str, float] = field(default_factory=dict)

    def ask(self, request: Request) -> Answer:
        if request.do == "ceilings":
            return Answer(ceilings=self.ceilings)
        if request.do != "run":
            return Answer(max_abs=0.0, cosine=1.0)
        self.log.append(self.name)
        self.turns += 1
        if self.fails and self.turns == 2:
            return Answer(failure="out of memory")
        times = (self.ms,) * request.runs
        # each present stream's encoder takes 2 ms
        parts = dict.fromkeys(request.pattern, 2.0) | {"fusion": 1.0}
        return Answer(wall_ms=times, device_ms=times, parts_ms=parts)


def plan_of(tiny: Bundle, **stand_ins: StandIn) -> BenchPlan:
    named = {OURS if name == "ours" else name: one for name, one in stand_ins.items()}
    return BenchPlan(tiny, BenchOptions(runs=10, sources=(1, 2)), named)


def test_contenders_take_turns_and_one_that_fails_is_left_out(tiny: Bundle):
    log: list[str] = []
    plan = plan_of(tiny, ours=StandIn(1.0, log, "a"), torch=StandIn(4.0, log, "b", fails=True))
    ours, torch = next(iter(plan.parts())).timings
    assert log == ["a", "b", "a", "b", *["a"] * (TURNS - 2)]
    assert (ours.wall.runs, ours.wall.median) == (10, 1.0)
    assert torch.failure == "out of memory"


def test_several_sources_are_compared_with_one(tiny: Bundle):
    one, two = plan_of(tiny, ours=StandIn(2.0, [], "a")).sources()
    assert (one.predictions_per_s, two.predictions_per_s) == (500.0, 1000.0)
    assert (two.throughput_ratio, two.latency_ratio) == (2.0, 1.0)


def test_the_highest_ceiling_counts(tiny: Bundle):
    slow = StandIn(1.0, [], "a", ceilings={"copy_gb_s": 10.0})
    fast = StandIn(1.0, [], "b", ceilings={"copy_gb_s": 12.0, "fp32_tflop_s": 1.0})
    assert plan_of(tiny, ours=slow, torch=fast).ceilings() == {"copy_gb_s": 12.0, "fp32_tflop_s": 1.0}


def test_progress_counts_to_the_end(tiny: Bundle):
    class Counts:
        def __init__(self) -> None:
            self.seen: list[tuple[float, float | None]] = []

        def stage(self, text: str) -> None: ...

        def count(self, done: float, total: float | None, what: str) -> None:
            self.seen.append((done, total))

    counts = Counts()
    plan = BenchPlan(tiny, BenchOptions(runs=5), {OURS: StandIn(1.0, [], "a")}, counts)
    done = [*plan.parts(), *plan.windows(), *plan.sources()]
    assert counts.seen[-1] == (len(done), len(done))


def test_torch_compile_is_timed_on_the_complete_pattern_alone(tiny: Bundle):
    contenders = {OURS: StandIn(1.0, [], "a"), "torch-compile fp32": StandIn(1.0, [], "b")}
    windows = list(BenchPlan(tiny, BenchOptions(runs=5), contenders).windows())
    assert sum(len(window.timings) == 2 for window in windows) == 2
    assert len(windows) == 16
