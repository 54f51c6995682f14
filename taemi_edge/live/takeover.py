"""Takes up another model in a running live run, without a missed hop.

Where the bundle of a run is a link, the run looks at the link each second. When it points elsewhere, the new bundle is
opened in the background. Then both models run: the old one makes the predictions, and the new one is given the same
hops, until its window is full. So its features are its own (those of the old encoders do not fit its head), and its
first prediction is the one that it would make had it run all along. Between two hops it takes over, and the old one is
closed.

For as long as one window both models are in memory and both compute. A model that cannot be opened, raises, or gives
NaN beside the old one is refused: the old one never stopped, and goes on.

What is read from the sources and what the outputs show were set up for the first model. So the new one must have the
same streams, at the same rates, the same outputs and the same hop. Its weights, engines, encoders, precisions, crops,
chunks, window and presence times may differ. For another one the run must be started again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taemi_edge.bundle.folder import MANIFEST, Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, VideoSpec, kind_name
from taemi_edge.errors import TaemiError, UsageError, in_one_line
from taemi_edge.live.events import ModelEvent
from taemi_edge.live.shadow import AbandonedError, Shadow
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.pipeline import Fleet

log = logging.getLogger("taemi_edge.live")

#: How often the link is looked at.
LOOK_EVERY_S = 1.0
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class FollowedLink:
    """The link to the bundle of a run.

    Attributes:
        link: where it lies.
        target: where it pointed when the first bundle was opened, as the link says it.
        open: opens the bundle of a folder, with the same checks as the first one.
    """

    link: Path
    target: str
    open: Callable[[Path], Bundle]


@dataclass(frozen=True)
class Surroundings:
    """What a follower needs of the run.

    Attributes:
        open_fleet: opens a fleet of a bundle, with a thread of its own, for the sources of the run.
        announce: tells the outputs.
        missed: how many hops were missed until now.
        hop_s: the time between two predictions, as it was configured.
        restart: ends the run so that its service manager starts it again; None where nobody would.
    """

    open_fleet: Callable[[Bundle], Fleet]
    announce: Callable[[ModelEvent], None]
    missed: Callable[[], int]
    hop_s: float
    restart: Callable[[], None] | None = None


class ModelFollower:
    """Implements `taemi_edge.live.loop.Successor` on a link; a thread of its own opens the models.

    Args:
        followed: the link.
        fleet: of the bundle that it pointed to.
        run: what the run offers.

    Attributes:
        fleet: the one in use.
        target: where the link pointed when its bundle was opened.
        opening: the target that is opened, or runs beside the old one; "" for none.
        refused, reason: the target that was refused last, and why; "" for none.
        restarting: whether the run ends so that its service manager starts it with the new model.
        taken_up, refusals: how many models were taken up and refused.
    """

    def __init__(self, followed: FollowedLink, fleet: Fleet, run: Surroundings) -> None:
        self._followed, self._run = followed, run
        self.fleet, self.target = fleet, followed.target
        self.opening = self.refused = self.reason = ""
        self.restarting = False
        self.taken_up = self.refusals = 0
        self._shadow: Shadow | None = None
        self._last_end_s, self._last_missed = 0.0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)

    @property
    def link(self) -> Path:
        """The link that is followed."""
        return self._followed.link

    def start(self) -> None:
        """Begin to look at the link."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; a model that was being opened is closed. To be called after the last hop.

        A library that opens engines cannot be interrupted: it is left behind in its thread after a while.
        """
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def forget_refusal(self) -> None:
        """Try a target again that was refused."""
        self.refused = ""

    def fleet_for(self, end_s: float) -> Fleet:
        """The fleet that makes the hop that ends at `end_s`: the new one as soon as it is ready."""
        shadow = self._shadow
        if shadow is not None and shadow.take(end_s):
            before, self.fleet, self.target, self._shadow = self.fleet, shadow.fleet, shadow.target, None
            self.taken_up += 1
            self._run.announce(
                ModelEvent(
                    time_s=round(end_s, 3),
                    before=before.model_id,
                    after=self.fleet.model_id,
                    taken_up=True,
                    missed=self._run.missed() - self._last_missed,
                    reason=shadow.lacking,
                )
            )
        return self.fleet

    def after_hop(self, hops: Sequence[Hop]) -> None:
        """Give the hops that a prediction was made from to the model that runs beside."""
        self._last_end_s, self._last_missed = hops[0].end_s, self._run.missed()
        if (shadow := self._shadow) is not None:
            shadow.feed(hops)

    def _follow(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            target = self._linked()
            if target and target not in (self.target, self.refused) and not self.restarting:
                self.opening = target
                try:
                    self._take_up(target)
                except AbandonedError:
                    log.info("%s: the link points elsewhere by now, or the run ends", target)
                except TaemiError as error:
                    self._refuse(target, str(error))
                except Exception as error:  # whatever a broken model sets off must not end the run of the old one
                    log.exception("%s: not taken up", target)
                    self._refuse(target, in_one_line(f"{type(error).__name__}: {error}"))
                self.opening = ""

    def _linked(self) -> str:
        """Where the link points; "" while there is none."""
        try:
            return os.readlink(self.link)
        except OSError:
            return ""

    def _take_up(self, target: str) -> None:
        """Open a target, run it beside the old model, hand it over, and close the old one."""
        folder = self.link.parent / target
        log.info("opening %s beside the model that runs", folder)
        bundle = self._followed.open(folder)
        if problem := difference(self.fleet.manifest, bundle.manifest, self._run.hop_s):
            self._start_again(target, problem)
            return
        fleet, old = self._run.open_fleet(bundle), self.fleet
        shadow = self._shadow = Shadow(fleet, target, self._run.hop_s)
        try:
            shadow.work(lambda: self._over.is_set() or self._linked() != target)
        except BaseException:
            self._shadow = None
            fleet.close()
            raise
        try:
            old.close()
        except Exception:  # the new model runs already: it is not refused for what the old one left behind
            log.exception("the model before %s could not be closed", target)

    def _start_again(self, target: str, problem: str) -> None:
        if self._run.restart is None:
            raise UsageError(f"{problem}: stop the run, and start it again with the new model")
        log.warning("%s: %s: the run ends, and its service manager starts it with the new model", target, problem)
        self.restarting = True
        self._run.restart()

    def _refuse(self, target: str, reason: str) -> None:
        self.reason = reason
        self.refused, self.refusals = target, self.refusals + 1
        event = ModelEvent(
            time_s=round(self._last_end_s, 3),
            before=self.fleet.model_id,
            after=target,
            taken_up=False,
            missed=0,
            reason=reason,
        )
        try:
            self._run.announce(event)
        except Exception:  # without this thread the link would never be looked at again
            log.exception("%s: not every output took the news that it was refused", target)


def model_id(bundle: Bundle) -> str:
    """The first twelve digits of the hash of a bundle's manifest, which holds the hashes of all else in it."""
    return bundle.digests.get(MANIFEST, "")[:12]


def difference(before: Manifest, after: Manifest, hop_s: float) -> str | None:
    """Why a run cannot change from one model to another while it goes on; None where it can.

    Args:
        before: of the model that runs.
        after: of the other one.
        hop_s: the time between two predictions of the run.
    """
    ours, theirs = ({n: _intake(spec) for n, spec in m.streams.items()} for m in (before, after))
    if ours != theirs:
        shown = [", ".join(f"{n} ({what})" for n, what in streams.items()) for streams in (ours, theirs)]
        return f"expected the streams {shown[0]}, got {shown[1]}"
    if dict(before.outputs) != dict(after.outputs):
        return f"expected the outputs {', '.join(before.outputs)} as they are, got {', '.join(after.outputs)}"
    if after.window.hop_s not in (hop_s, before.window.hop_s):
        return f"expected a hop of {hop_s:g} s, got {after.window.hop_s:g} s"
    return None


def _intake(spec: StreamSpec) -> str:
    """What a run reads for a stream, in words: the boxes of its sources were made for that."""
    rate = {
        VideoSpec: lambda s: f"{s.frames_per_second:g} pictures a second",
        AudioSpec: lambda s: f"{s.sample_rate_hz} Hz",
        SeriesSpec: lambda s: f"{s.channels} channels",
    }.get(type(spec))
    return kind_name(spec) + (f" of {rate(spec)}" if rate else "")
