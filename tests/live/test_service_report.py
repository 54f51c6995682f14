"""What a live run counts as healthy, and when it reports to an updater."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from taemi_edge.live.outputs.output import HopResult
from taemi_edge.live.service_report import ServiceReporter
from taemi_edge.live.update_root import fresh_reports, is_watched, read_result
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.prediction import Degraded, Prediction

LESS = Degraded(frames_share=0.5, hop_s=0.5, reason="hops take too long")


def result(losses: dict[str, str] | None = None, **changes) -> HopResult:
    said = {
        "source": "a",
        "time_s": 0.5,
        "window_s": (0.0, 0.5),
        "outputs": {},
        "presence": {},
        "age_ms": {},
        "latency_ms": {},
        "reason": {},
        "status": "ok",
    }
    return HopResult(Hop(0.5, losses=losses or {}), Prediction(**{**said, **changes}))


@pytest.fixture
def reporter(tmp_path, monkeypatch):
    """A reporter of a run that is made up; it reports often."""
    monkeypatch.setattr("taemi_edge.live.service_report._EVERY_S", 0.02)
    loop = SimpleNamespace(counts=SimpleNamespace(last_delay_s=0.1), load=SimpleNamespace(hop_s=0.5))
    follower = SimpleNamespace(
        link=tmp_path / "current",
        target="old",
        fleet=SimpleNamespace(model_id="0" * 12),
        opening="",
        refused="",
        reason="",
        restarting=False,
    )
    made = ServiceReporter(SimpleNamespace(loop=loop), follower)
    yield made
    made.close()
    assert not list((tmp_path / "services").glob("*"))


def healthy(reporter: ServiceReporter, given: HopResult) -> bool:
    before = reporter._counts[2]
    reporter.on_hop(given)
    return reporter._counts[2] > before


def test_what_is_healthy(reporter):
    assert healthy(reporter, result())
    assert not healthy(reporter, result(reason={"vision": "NaN in its features"}))
    assert healthy(reporter, result(reason={"vision": "no new data"}))
    assert not healthy(reporter, result(status="no prediction"))
    assert healthy(reporter, result({"vision": "connection refused"}, status="no prediction"))
    assert not healthy(reporter, result(degraded=LESS))
    reporter._state.loop.counts.last_delay_s = 0.6
    assert not healthy(reporter, result())


@pytest.mark.parametrize("alone", [None, LESS])
def test_a_machine_that_could_not_carry_the_old_model_is_not_held_to_it(reporter, alone):
    reporter.on_hop(result(degraded=alone))
    reporter._follower.opening = "new"
    reporter.on_hop(result(degraded=LESS))  # both run
    reporter._follower.target, reporter._follower.opening = "new", ""
    assert healthy(reporter, result(degraded=LESS)) == (alone is LESS)
    assert reporter._counts[:2] == ("new", 1)


def test_it_reports_only_to_an_updater_that_watches(reporter, tmp_path):
    reporter.on_hop(result())
    time.sleep(0.1)
    assert not (tmp_path / "services").exists()
    (tmp_path / "watched").touch()
    assert is_watched(tmp_path)
    until = time.monotonic() + 10
    while not (found := fresh_reports(tmp_path)) and time.monotonic() < until:
        time.sleep(0.02)
    [report] = found.values()
    assert (report.target, report.made, report.healthy, report.hop_s) == ("old", 1, 1, 0.5)


@pytest.mark.parametrize("content", [b'{"link": "\xe9", "reason": "\xe9"}', b'{"x": ' + b"[" * 200_000, b"", b"null"])
def test_a_report_that_cannot_be_read_is_no_report(content, tmp_path):
    """Services may run as other users, or be of another version."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "1-x.json").write_bytes(content)
    (tmp_path / "update.json").write_bytes(content)
    assert fresh_reports(tmp_path) == {}
    assert read_result(tmp_path) is None
