"""Live runs as a part of a program: in a thread of their own, or as an iterator of predictions."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType

from taemi_edge.bundle.folder import Bundle
from taemi_edge.live.config import LiveConfig
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.run import LiveSummary, run_live
from taemi_edge.runtime.prediction import Prediction

#: How many predictions wait for a slow reader; older ones are dropped, since live video never queues.
_MOST_WAITING = 64


class LiveRun:
    """A live run in a thread of its own. As a context manager it stops the run at its end.

    Args:
        bundle: the model.
        config: sources and times.
        on_prediction: called with each prediction, in the run's thread. It must not block: a slow one makes hops late.
        stop: set it to end the run; the run itself never sets it, so several runs may share one.
        on_end: called once, in the run's thread, when the run has ended for whatever reason.

    Example:
        >>> import taemi_edge as te
        >>> seen = []
        >>> with te.load("export/taemi-tiny") as model:
        ...     run = model.stream("talk.mp4", on_prediction=seen.append, duration_s=1.0)
        ...     summary = run.join()
        >>> len(seen), summary.counts.made
        (2, 2)
    """

    def __init__(
        self,
        bundle: Bundle,
        config: LiveConfig,
        on_prediction: Callable[[Prediction], None],
        stop: threading.Event | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._bundle, self._config = bundle, config
        self._on_prediction, self._on_end = on_prediction, on_end
        self._stopping = _EitherEvent(stop) if stop is not None else threading.Event()
        self._outcome: LiveSummary | BaseException = RuntimeError("the live run has not ended")
        self._thread = threading.Thread(target=self._run, name="live run", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is still under way."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Let it end after the hop at hand; `join` waits for that."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> LiveSummary:
        """Wait for the end.

        Raises:
            TimeoutError: it had not ended after `timeout_s` seconds.
            TaemiError: what ended it, if anything failed; an exception of `on_prediction` comes as it is.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the live run had not ended after {timeout_s:g} s")
        if isinstance(self._outcome, LiveSummary):
            return self._outcome
        raise self._outcome

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._thread.join()
        if kind is None:
            self.join()  # a failure that nobody has seen is raised here

    def _run(self) -> None:
        try:
            self._outcome = run_live(
                self._bundle, self._config, stop=self._stopping, outputs=[_PredictionOutput(self._on_prediction)]
            )
        except BaseException as error:  # noqa: BLE001  (`join` raises it in the caller's thread)
            self._outcome = error
        finally:
            if self._on_end is not None:
                self._on_end()


def predict_live(bundle: Bundle, config: LiveConfig, stop: threading.Event | None = None) -> Iterator[Prediction]:
    """The predictions of a live run as they are made; leaving the loop over them ends the run.

    Args:
        bundle: the model.
        config: sources and times.
        stop: set it to end the run.

    Raises:
        TaemiError: see `run_live`; once the predictions before it were read.
    """
    waiting: queue.Queue[Prediction | None] = queue.Queue(_MOST_WAITING)

    def keep(prediction: Prediction | None) -> None:
        while True:
            try:
                return waiting.put_nowait(prediction)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    waiting.get_nowait()

    with LiveRun(bundle, config, keep, stop, on_end=partial(keep, None)):
        while (prediction := waiting.get()) is not None:
            yield prediction


class _EitherEvent(threading.Event):
    """An event that is set when it was set itself, or when another one was; the other one is never set by it."""

    #: How often the other event is looked at while somebody waits.
    _LOOK_EVERY_S = 0.05

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        end_s = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left_s := end_s - time.monotonic()) > 0:
            super().wait(min(self._LOOK_EVERY_S, left_s))
        return self.is_set()


class _PredictionOutput(BaseOutput):
    """Hands each prediction of a live run to a function."""

    def __init__(self, on_prediction: Callable[[Prediction], None]) -> None:
        self._on_prediction = on_prediction

    def on_hop(self, result: HopResult) -> None:
        self._on_prediction(result.prediction)
