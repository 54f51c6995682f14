"""Watches the services that follow an update's link, until they run the new model well or it is clear that they don't.

A service takes up the new model by itself, and reports each second (`taemi_edge.live.service_report`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from taemi_edge.fleet.versions import UpdateFolder
from taemi_edge.live.update_root import ServiceReport, fresh_reports

#: How long a service may take to open the new model and fill its window.
TAKE_UP_S = 420.0
_LOOK_EVERY_S = 0.5
#: Services look at `watched` once a second: one that has not reported by then does not run.
_FIRST_REPORTS_S = 3.0


@dataclass(frozen=True)
class Verdict:
    """How the services fared.

    Attributes:
        problem: why the new model cannot stay; None where it can.
        watched: how many services there were.
    """

    problem: str | None
    watched: int


@dataclass
class _Watch:
    """What was seen so far. Times are of the monotonic clock."""

    target: str
    watch_s: float
    services: int
    started: float = field(default_factory=lambda: time.monotonic())
    #: When all services ran the new model.
    all_since: float | None = None
    #: When a service was last seen, and when all of them made a healthy prediction.
    seen: float = field(default_factory=lambda: time.monotonic())
    healthy: float = field(default_factory=lambda: time.monotonic())
    #: The files of the services that ran the new model: one that starts again gets another one.
    lives: set[str] = field(default_factory=set)

    def look(self, reports: dict[str, ServiceReport]) -> Verdict | None:
        """Judge the newest reports; None where it is too early to tell."""
        now = time.monotonic()
        self.services = max(self.services, len(reports))
        for report in reports.values():
            if report.refused == self.target:
                return self._failed(f"the service could not take it up: {report.reason}")
        if reports:
            self.seen = now
        elif now - self.seen > self.watch_s:
            return self._failed(f"the service ended, and did not come back for {self.watch_s:g} s")
        on_it = {name: report for name, report in reports.items() if report.target == self.target}
        self.lives |= set(on_it)
        if len(self.lives) > 2 * self.services:
            return self._failed(f"the service ended {len(self.lives) - self.services} times")
        if not on_it or len(on_it) < len(reports):
            self.all_since, self.healthy = None, now
            late = now - self.started > TAKE_UP_S
            return self._failed(f"the service did not take it up in {TAKE_UP_S:g} s") if late else None
        self.all_since = self.all_since or now
        return self._judge(list(on_it.values()), now)

    def _judge(self, reports: list[ServiceReport], now: float) -> Verdict | None:
        quiet_s = [time.time() - report.healthy_at for report in reports]
        if max(quiet_s) < 2 * _FIRST_REPORTS_S:
            self.healthy = now
        is_over = now - (self.all_since or now) >= self.watch_s
        if now - self.healthy > self.watch_s or (is_over and self.healthy != now):
            return self._failed(f"the service gave no healthy prediction for {now - self.healthy:.0f} s")
        if not is_over:
            return None
        made, healthy = (sum(getattr(report, name) for report in reports) for name in ("made", "healthy"))
        if 2 * healthy < made:
            return self._failed(f"{healthy} of {made} predictions were healthy in {self.watch_s:g} s")
        return Verdict(None, self.services)

    def _failed(self, problem: str) -> Verdict:
        return Verdict(problem, self.services)


def count_services(folder: UpdateFolder) -> int:
    """How many services run from a folder at this moment; asks them to report, and waits until they have."""
    asked_s = folder.asked_for_reports_s()
    folder.ask_for_reports()
    time.sleep(max(0.0, _FIRST_REPORTS_S - asked_s))
    return len(fresh_reports(folder.root))


def watch_services(folder: UpdateFolder, version: str, watch_s: float, services: int) -> Verdict:
    """Wait until all services have run a version well for some time, or one of them does not.

    Args:
        folder: that they follow.
        version: that `current` leads to.
        watch_s: how long they must run it, and how long they may be without a healthy prediction.
        services: how many ran before; with none there is nothing to watch.
    """
    if not services:
        return Verdict(None, 0)
    watch = _Watch(folder.target(version), watch_s, services)
    while True:
        folder.ask_for_reports()
        if (verdict := watch.look(fresh_reports(folder.root))) is not None:
            return verdict
        time.sleep(_LOOK_EVERY_S)
