"""What an updater makes of the reports of services, and what it does with a service that runs a model badly."""

from __future__ import annotations

import os
import re
import time
from itertools import pairwise
from typing import Any

import pytest

from taemi_edge.errors import UpdateError
from taemi_edge.fleet.update import UpdateOptions, update
from taemi_edge.fleet.versions import UpdateFolder
from taemi_edge.fleet.watching import _Watch, count_services, watch_services
from taemi_edge.live.update_root import ServiceReport, read_result, write_report
from tests.fleet.updating import variant
from tests.live.running import LiveRun

NEW, OLD = "versions/new/engines", "versions/old/engines"


class Clock:
    """Both clocks of the watch, which move by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        for name in ("time.monotonic", "time.time"):
            monkeypatch.setattr(name, lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def report(target: str = NEW, made: int = 0, healthy: int = 0, **more: Any) -> ServiceReport:
    said = {"pid": 1, "link": "current", "target": target, "model_id": "0" * 12}
    return ServiceReport(**said, made=made, healthy=healthy, **more)


def watched(clock: Clock, seconds: int, reports, services: int = 1):
    """The verdict after looking each second, and when it came."""
    watch = _Watch(NEW, 60.0, services)
    for second in range(seconds):
        clock.now_s += 1.0
        if (verdict := watch.look(reports(second))) is not None:
            return verdict, second + 1
    return None, seconds


def test_a_service_that_runs_it_well_for_a_minute_keeps_it(clock):
    def reports(second: int):
        if second < 5:
            return {"a": report(OLD, 100, 100)}
        return {"a": report(NEW, 2 * second, 2 * second)}

    verdict, after = watched(clock, 100, reports)
    assert (verdict.problem, verdict.watched) == (None, 1)
    assert after == 66


def test_a_service_that_starts_again_for_other_streams_is_waited_for(clock):
    """Opening engines takes minutes on a small device; its hops are longer than the watch."""

    def reports(second: int):
        if second < 3:
            return {"a": report(OLD, 100, 100, restarting=second == 2)}
        return {} if second < 200 else {"b": report(NEW, second // 30, second // 30, hop_s=30.0)}

    verdict, after = watched(clock, 500, reports)
    assert verdict.problem is None
    assert after == 291


@pytest.mark.parametrize(
    ("why", "reports"),
    [
        ("could not take it up: no room", lambda s: {"a": report(OLD, 1, 1, refused=NEW, reason="no room")}),
        ("gave no healthy prediction for 6[0-2] s", lambda s: {"a": report(NEW, 2 * s, 0)}),
        ("did not come back for 60 s", lambda s: {}),
        ("the service ended 2 times", lambda s: {f"a{s // 5}": report(NEW, 2 + s % 5, 2 + s % 5)}),
        ("did not take it up in 420 s", lambda s: {"a": report(OLD, 2 * s, 2 * s)}),
        ("20 of 60 predictions were healthy", lambda s: {"a": report(NEW, s, s // 3)}),
        (
            "gave no healthy prediction for 6[0-2] s",
            lambda s: {"a": report(NEW, s, s), "b": report(NEW, s, 0)},
        ),
    ],
)
def test_what_takes_the_device_back(clock, why: str, reports):
    verdict, _ = watched(clock, 500, reports, services=1)
    assert re.search(why, verdict.problem)


def test_nobody_there_is_said_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("taemi_edge.fleet.watching._FIRST_REPORTS_S", 0.1)
    folder = UpdateFolder(tmp_path)
    with folder.held():
        assert count_services(folder) == 0
        assert watch_services(folder, "new", 60.0, 0).watched == 0
        stale = tmp_path / "services" / "1-old.json"
        write_report(stale, report())
        os.utime(stale, (time.time() - 10,) * 2)
        assert count_services(folder) == 0
        write_report(tmp_path / "services" / "2-new.json", report())
        assert count_services(folder) == 1


@pytest.mark.nightly
def test_a_service_is_updated_and_taken_back_where_it_ends(tiny_folder, demo_video, tmp_path):
    """A real service takes up a new model; then one whose service is killed at once is taken back."""
    root, fast = tmp_path / "root", {"target": "cpu", "precision": "fp32", "threads": 1, "watch_s": 4.0}
    first = update(root, UpdateOptions(source=str(tiny_folder), **fast)).after
    with LiveRun(tmp_path, root / "current", demo_video, "--live", "--loop") as run:
        run.wait_until(lambda: len(run.predictions) > 4)
        result = update(root, UpdateOptions(source=str(variant(tiny_folder, tmp_path / "b", "b")), **fast))
        assert (result.ok, result.watched) == (True, 1)
        made_by = [prediction["model_id"] for prediction in run.predictions]
        assert len(set(made_by)) == 2
        ends_s = [prediction["time_s"] for prediction in run.predictions]
        assert max(after - before for before, after in pairwise(ends_s)) <= 1.0
        newer = variant(tiny_folder, tmp_path / "c", "c")

        def kill(step: str) -> None:
            if step == "watch":
                run.process.kill()

        with pytest.raises(UpdateError, match=f"watch: the service ended.*{result.after} goes on"):
            update(root, UpdateOptions(source=str(newer), **fast), on_step=kill)
        run.process.wait()
    assert os.readlink(root / "current").split("/")[1] == result.after
    assert os.readlink(root / "previous").split("/")[1] == first
    assert read_result(root).ok is False
