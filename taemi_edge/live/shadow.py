"""A model that runs beside the one that makes the predictions of a live run, until its window is as full as theirs."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence

from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import ChunkedSpec, VideoSpec
from taemi_edge.errors import BackendError
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.pipeline import Fleet
from taemi_edge.runtime.prediction import Prediction

#: What predictions say of a stream whose features were no numbers.
_NAN = "NaN"
#: A window that is longer than this is not waited for.
_LONGEST_WINDOW_S = 60.0
#: A device that cannot run both models at once loses hops of the new one; after so many windows, and 10 s, it takes
#: over with what it has.
_MOST_WINDOWS = 3
_LOOK_EVERY_S = 0.2


class AbandonedError(Exception):
    """The model is not wanted any more."""


class Shadow:
    """One fleet beside another. The loop's thread calls `feed` and `take`; a thread in the background calls `work`.

    Args:
        fleet: of the new model, which may be used from any thread.
        target: where its bundle lies.
        hop_s: the time between two predictions.

    Attributes:
        lacking: what its first predictions lack; None where nothing.
    """

    def __init__(self, fleet: Fleet, target: str, hop_s: float) -> None:
        self.fleet, self.target, self._hop_s = fleet, target, hop_s
        self.lacking: str | None = None
        self._needed_s = min(fleet.window_s, _LONGEST_WINDOW_S) + _lead_s(fleet.manifest)
        self._most = math.ceil(self._needed_s / hop_s) + 2
        self._deadline = time.monotonic() + _MOST_WINDOWS * self._needed_s + 10.0
        self._waiting: queue.SimpleQueue[Sequence[Hop]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        #: Hops that were given and not run yet; the one that runs is one of them.
        self._open = 0
        #: Where the hops begin that were all run; None before the first.
        self._since_s: float | None = None
        self._taken = threading.Event()

    def feed(self, hops: Sequence[Hop]) -> None:
        """Give it the hops of all sources that a prediction was just made from."""
        with self._lock:
            if self._taken.is_set():
                return
            is_late = time.monotonic() > self._deadline  # no more hops: it takes over once it has run what it has
            if is_late or self._open >= self._most:  # it cannot keep up: its window has a gap, and it begins anew
                self._since_s = None
                return
            if self._since_s is None:
                self._since_s = hops[0].end_s - self._hop_s
            self._open += 1
        self._waiting.put(hops)

    def take(self, end_s: float) -> bool:
        """Whether it makes the hop that ends at `end_s`, and all from then on."""
        with self._lock:
            is_full = self._since_s is not None and self._since_s <= end_s - self._needed_s + 1e-6
            is_late = time.monotonic() > self._deadline
            if self._open or not (is_full or is_late):
                return False
            if not is_full or self.fleet.window_s > _LONGEST_WINDOW_S:
                self.lacking = "its first predictions lack the beginning of their window"
            self._taken.set()
            return True

    def work(self, is_over: Callable[[], bool]) -> None:
        """Run the hops that come, until the loop has taken the fleet over.

        Args:
            is_over: whether the model is not wanted any more.

        Raises:
            AbandonedError: it is not.
            BackendError: the model cannot run, or gives NaN.
        """
        while not self._taken.is_set():
            if is_over() and self._abandon():
                raise AbandonedError
            try:
                hops = self._waiting.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                continue
            prepared = {index: self.fleet.prepare(index, hop) for index, hop in enumerate(hops)}
            for prediction in self.fleet.predict(prepared):
                _require_numbers(prediction)
            with self._lock:
                self._open -= 1

    def _abandon(self) -> bool:
        """Make sure that the loop does not take it over; False where it has."""
        with self._lock:
            self._open += 1  # a hop that is never run
            return not self._taken.is_set()


def _require_numbers(prediction: Prediction) -> None:
    spoiled = [stream for stream, reason in prediction.reason.items() if reason.startswith(_NAN)]
    if spoiled:
        raise BackendError(f"{spoiled[0]}: its new encoder gives NaN for what {prediction.source} sends")


def _lead_s(manifest: Manifest) -> float:
    """How much must have come before a window for its first features to be whole: a chunk, its context, a clip."""
    leads = [0.0]
    for spec in manifest.streams.values():
        if isinstance(spec, ChunkedSpec):
            leads.append(spec.chunk_s + spec.context_s)
        elif isinstance(spec, VideoSpec):
            leads.append(spec.clip_frames / spec.frames_per_second)
    return max(leads)
