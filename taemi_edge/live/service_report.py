"""What a live run says of itself to an updater that watches it; see `taemi_edge.live.update_root`."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from contextlib import ExitStack, suppress

from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.stopping import calling_on_hangup
from taemi_edge.live.takeover import ModelFollower
from taemi_edge.live.update_root import SERVICES, ServiceReport, is_update_root, is_watched, write_report

log = logging.getLogger("taemi_edge.live")

_EVERY_S = 1.0


def follow(stack: ExitStack, state: LiveState, follower: ModelFollower) -> None:
    """Begin to look at the link of a run, and to report where it lies in a folder that an updater keeps.

    Args:
        stack: ends both when the run ends.
        state: of the run, with all its outputs.
        follower: of the run.
    """
    if is_update_root(follower.link.parent):
        reporter = ServiceReporter(state, follower)
        state.loop.outputs.append(reporter)
        stack.callback(reporter.close)
    if os.environ.get("NOTIFY_SOCKET"):  # systemd's reload; in a terminal it means that the terminal is gone
        stack.enter_context(calling_on_hangup(follower.forget_refusal))
    follower.start()
    stack.callback(follower.close)


class ServiceReporter(BaseOutput):
    """Counts healthy predictions of the model in use, and reports each second while an updater watches.

    A prediction is healthy when it came in time, nothing was left out for want of time, and no stream was lost to
    features that are no numbers. A machine that could not carry the old model alone is not held to the second. One that
    could not be made, since a stream is missing that the model requires, is healthy only where that stream is known to
    be lost.

    Args:
        state: of the run.
        follower: knows which model is in use.
    """

    def __init__(self, state: LiveState, follower: ModelFollower) -> None:
        self._state, self._follower = state, follower
        self._root = follower.link.parent
        self._file = self._root / SERVICES / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        self._counts: tuple[str, int, int] = ("", 0, 0)
        #: Whether something is left out for want of time, as long as one model runs alone; and so of the one before.
        self._is_degraded = self._was_degraded = False
        self._failed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report_on, name="report", daemon=True)
        self._thread.start()

    def on_hop(self, result: HopResult) -> None:
        """Count a prediction, from 0 where it is the first of another model."""
        target, made, healthy = self._counts
        if target != self._follower.target:
            target, made, healthy = self._follower.target, 0, 0
            self._was_degraded = self._is_degraded
        if not self._follower.opening:
            self._is_degraded = result.prediction.degraded is not None
        self._counts = target, made + 1, healthy + self._is_healthy(result)

    def close(self) -> None:
        """Report no more: nobody has to wait for a service that ended in good order, unless it comes back at once."""
        self._over.set()
        self._thread.join()
        if self._follower.restarting:
            self._report()
        else:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)

    def _is_healthy(self, result: HopResult) -> bool:
        prediction, loop = result.prediction, self._state.loop
        is_late = loop.counts.last_delay_s > loop.load.hop_s
        is_less = prediction.degraded is not None and not self._was_degraded
        if is_late or is_less or any(why.startswith("NaN") for why in prediction.reason.values()):
            return False
        return prediction.status != "no prediction" or bool(result.hop.losses)

    def _report_on(self) -> None:
        while not self._over.wait(_EVERY_S):
            if is_watched(self._root):
                self._report()

    def _report(self) -> None:
        follower, (target, made, healthy) = self._follower, self._counts
        is_new = target != follower.target
        report = ServiceReport(
            pid=os.getpid(),
            link=str(follower.link),
            target=follower.target,
            model_id=follower.fleet.model_id,
            made=0 if is_new else made,
            healthy=0 if is_new else healthy,
            opening=follower.opening,
            refused=follower.refused,
            reason=follower.reason if follower.refused else "",
            hop_s=self._state.loop.load.hop_s,
            restarting=follower.restarting,
        )
        try:
            write_report(self._file, report)
        except OSError as error:
            if not self._failed:
                log.error("%s: an updater waits for a report, and it cannot be written: %s", self._file, error)
            self._failed = True
