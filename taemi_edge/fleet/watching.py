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
    """What was seen so far. Times are of the monotonic clock, which nobody sets."""

    target: str
    watch_s: float
    services: int
    started: float = field(default_factory=lambda: time.monotonic())
    #: When a service was last seen, and how long one may be away.
    seen: float = field(default_factory=lambda: time.monotonic())
    away_s: float = 0.0
    #: When all services ran the new model; None while some do not.
    all_since: float | None = None
    #: By the file of a service: its healthy predictions with the new model, and when there were last more of them.
    healthy: dict[str, tuple[int, float]] = field(default_factory=dict)

    def look(self, reports: dict[str, ServiceReport]) -> Verdict | None:
        """Judge the newest reports; None where it is too early to tell."""
        now = time.monotonic()
        self.services = max(self.services, len(reports))
        for report in reports.values():
            if report.refused == self.target:
                return self._failed(f"the service could not take it up: {report.reason}")
        if reports:
            restarts = any(report.restarting for report in reports.values())
            self.seen, self.away_s = now, TAKE_UP_S if restarts else self.watch_s
        elif now - self.seen > (self.away_s or self.watch_s):
            return self._failed(f"the service ended, and did not come back for {self.away_s or self.watch_s:g} s")
        on_it = {name: report for name, report in reports.items() if report.target == self.target}
        self._count(on_it, now)
        if (lives := len(self.healthy)) > 2 * self.services:
            return self._failed(f"the service ended {lives - self.services} times")
        if not on_it or len(on_it) < len(reports):
            self.all_since = None
            late = now - self.started > TAKE_UP_S and bool(reports)
            return self._failed(f"the service did not take it up in {TAKE_UP_S:g} s") if late else None
        self.all_since = self.all_since or now
        return self._judge(on_it, now, now - self.all_since)

    def _count(self, on_it: dict[str, ServiceReport], now: float) -> None:
        for name, report in on_it.items():
            count, at = self.healthy.get(name, (0, now))
            self.healthy[name] = (report.healthy, now if report.healthy > count else at)

    def _judge(self, on_it: dict[str, ServiceReport], now: float, so_far_s: float) -> Verdict | None:
        hop_s = max(report.hop_s for report in on_it.values())
        watch_s, quiet_s = max(self.watch_s, 3 * hop_s), max(now - self.healthy[name][1] for name in on_it)
        is_over = so_far_s >= watch_s
        if quiet_s > watch_s or (is_over and quiet_s > max(2 * _FIRST_REPORTS_S, 2 * hop_s)):
            return self._failed(f"the service gave no healthy prediction for {quiet_s:.0f} s")
        if not is_over:
            return None
        made, healthy = (sum(getattr(report, name) for report in on_it.values()) for name in ("made", "healthy"))
        if not healthy or 2 * healthy < made:
            return self._failed(f"{healthy} of {made} predictions were healthy in {watch_s:g} s")
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
