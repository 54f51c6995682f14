"""How the cost of a hop grows: the values that are timed, and the command."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from taemi_edge.bench import sweep
from taemi_edge.bench.contender import Contender
from taemi_edge.bench.sweep import AXES, SweepOptions, SweepReport, values_of
from taemi_edge.bench.worker import Answer, Request
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import UsageError


def test_values_go_from_half_to_four_times_the_models_own(tiny: Bundle):
    options = SweepOptions(sources=(1, 3))
    assert values_of("window", tiny, options, "cpu") == [2.0, 4.0, 8.0, 16.0]
    assert values_of("hop", tiny, options, "cpu") == [0.25, 0.5, 1.0, 2.0]
    assert values_of("sources", tiny, options, "cpu") == [1.0, 3.0]
    assert values_of("threads", tiny, options, "tensorrt") == []


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_no_more_threads_are_timed_than_there_are_cores(tiny: Bundle, monkeypatch, cores, expected):
    monkeypatch.setattr(sweep, "usable_cores", lambda: cores)
    assert values_of("threads", tiny, SweepOptions(), "cpu") == expected


def test_too_few_runs_and_sources_are_refused():
    with pytest.raises(UsageError, match="--runs 2: expected at least 3 beside --sweep"):
        SweepOptions(runs=2)
    with pytest.raises(UsageError, match="--sources 0: expected numbers from 1 to 256"):
        SweepOptions(sources=(1, 0))


def test_the_command_times_every_axis(cli_here, tiny_folder: Path, tmp_path: Path, monkeypatch):
    """A value that fails is named, and the others go on."""
    pytest.importorskip("matplotlib")
    ask = Contender.ask

    def without_long_windows(self: Contender, request: Request) -> Answer:
        return Answer(failure="too long") if request.length_s > 8 else ask(self, request)

    monkeypatch.setattr(Contender, "ask", without_long_windows)
    words = ["--sweep", "--runs", "6", "--sources", "1,2", "--json", tmp_path / "s.json", "--plot", tmp_path / "s.png"]
    done = cli_here("bench", tiny_folder, *words)
    assert done.returncode == 0, done.stderr
    assert "how the cost of a hop grows" in done.stdout
    assert "not run: window 16: too long" in done.stderr
    report = msgspec.json.decode((tmp_path / "s.json").read_bytes(), type=SweepReport)
    assert {point.axis for point in report.points} == set(AXES)
    assert [(point.axis, point.value) for point in report.points if point.failure] == [("window", 16.0)]
    for point in report.points:
        if not point.failure:
            assert point.wall.runs == 6
            assert point.parts_ms.keys() == {"vision", "audio", "text", "fusion"}
            assert (point.anew_ms is not None) == (point.axis in ("window", "hop"))
    assert (tmp_path / "s.png").stat().st_size > 20_000
