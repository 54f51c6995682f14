"""Makes predictions from hops, the short slices that a source is read in.

`Pipeline` serves one source. `Fleet` serves several and batches their encoder calls.

A hop encodes the frames and chunks of sound that came since the last hop; older features of the window are read from
rings. Frames are encoded alone and sound in chunks on a fixed grid, so that a file that is run hop by hop gives the
same features as one pass over all of it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import TracebackType

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BackendError, DeviceLostError, TaemiError
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.failover import fail_over_to_cpu
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.own_thread import OwnThreadExecutor
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.sessions import Device
from taemi_edge.runtime.window import Source, SourceWindow, open_tools
from taemi_edge.runtime.work import Executor, Layout, Work, WorkResult, merged


class Fleet:
    """Runs one bundle on several sources; a context manager that owns its executor.

    Where the GPU is lost, the graphs that the engines were built from take over on the CPU, if they are there.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        sources: the sources, each with what is known of it beforehand.
        device: where to run; by default what the bundle was built for.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        window_s: how far back a prediction looks, in seconds; the bundle's own by default.
        hop_s: how often a prediction is made, in seconds; the bundle's own by default.
        own_thread: whether the device belongs to a thread of its own, so that any thread may use the fleet and close
            it, one at a time. Without it everything must happen in the thread that opens the fleet.

    Attributes:
        model_id: what predictions say about the model that made them; "" leaves it out.
        outputs: what the head gave at the last hop of each source, by the source's number: float32 (n,) for each group
            of outputs, not rounded as in predictions; None where there was no prediction. It holds until the next hop.

    Raises:
        UsageError, EngineError, BackendError: see `taemi_edge.runtime.opening.open_executor`.

    Example:
        Give each source's hops to `prepare`, and what it returns to `predict`:

        >>> import taemi_edge as te
        >>> from taemi_edge.media.hops import Hop
        >>> from taemi_edge.runtime.window import Source
        >>> with te.Fleet(te.open_bundle("export/taemi-tiny"), [Source("door"), Source("desk")]) as fleet:
        ...     prepared = {0: fleet.prepare(0, Hop(0.5)), 1: fleet.prepare(1, Hop(0.5))}
        ...     predictions = fleet.predict(prepared)
        >>> [(prediction.source, prediction.status) for prediction in predictions]
        [('door', 'no signal'), ('desk', 'no signal')]
    """

    def __init__(
        self,
        bundle: Bundle,
        sources: Sequence[Source],
        *,
        device: Device | None = None,
        threads: int | None = None,
        window_s: float | None = None,
        hop_s: float | None = None,
        own_thread: bool = False,
    ) -> None:
        self._bundle, self.manifest, self.model_id = bundle, bundle.manifest, ""
        self.outputs: dict[int, Mapping[str, Array] | None] = {}
        self.window_s = window_s or self.manifest.window.length_s
        self._threads = threads
        self._layout = Layout(len(sources), self.window_s, hop_s or self.manifest.window.hop_s)
        #: Why the device was given up; None while it runs.
        self.lost: str | None = None
        opening = partial(open_executor, bundle, self._layout, device, threads)
        self.executor: Executor = OwnThreadExecutor(opening) if own_thread else opening()
        try:
            self._tools = open_tools(bundle, len(sources))
            self.windows = [self._make_window(index, source) for index, source in enumerate(sources)]
        except BaseException:
            self.executor.close()
            raise

    def close(self) -> None:
        """Free the device."""
        self.executor.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def prepare(self, index: int, hop: Hop, lazily: bool = False) -> PreparedHop:
        """Do what is costly with a source's next hop, such as finding faces; may be called in a thread of its own.

        Args:
            index: the source's number.
            lazily: find a face only when its crop is taken, so that a long hop need not lie in memory as a whole.
        """
        return self.windows[index].prepare(hop, lazily)

    def predict(self, prepared: Mapping[int, PreparedHop]) -> list[Prediction]:
        """Take in one hop of each of some sources, and make their predictions.

        Args:
            prepared: what `prepare` gave, by the source's number.

        Returns:
            One prediction for each of these sources, in the order of their numbers.

        Raises:
            DeviceLostError: the device is gone and nothing can take over.
            BackendError: see `taemi_edge.runtime.work.Executor`.
        """
        indices = sorted(prepared)
        works = [self._after_early_works(index, prepared[index]) for index in indices]
        done = self._execute(works, prepared)
        spoiled = [i for i, result in zip(indices, done, strict=True) if result.faults]
        if spoiled:
            done = self._without_faults(indices, done, prepared)
        return [
            self._prediction(index, result, prepared[index], work.parts)
            for index, work, result in zip(indices, works, done, strict=True)
        ]

    def predict_one(self, index: int, hop: Hop) -> Prediction:
        """Prepare and take in a hop of one source, and make its prediction.

        Raises:
            DeviceLostError, BackendError: see `predict`.
        """
        [prediction] = self.predict({index: self.prepare(index, hop, lazily=True)})
        return prediction

    def reset(self, index: int, source: Source) -> None:
        """Forget all of a source: its next hop is the first of a new one, on a clock that starts at 0."""
        self.windows[index] = self._make_window(index, source)

    def encode(self, index: int, prepared: PreparedHop) -> None:
        """Take in a hop of one source without predicting."""
        for work in self.windows[index].works(prepared, fuse=False):
            self._execute([work], {index: prepared})

    def features(self, index: int, stream: str, end_s: float) -> Array:
        """A copy of what the window that ends at `end_s` holds of a stream: (T, D), T possibly 0."""
        return self.executor.features(index, stream, self.windows[index].rows(stream, end_s))

    def _make_window(self, index: int, source: Source) -> SourceWindow:
        return SourceWindow(self.manifest, source, index, self.window_s, self.executor, self._tools[index])

    def _after_early_works(self, index: int, prepared: PreparedHop) -> Work:
        """Run all works of a hop but the last, which is returned; an ordinary hop has only that one."""
        window = self.windows[index]
        for work in window.early_works(prepared):
            [done] = self._execute([work], {index: prepared})
            prepared.watch.add_parts(work.parts, done.part_ms)
            if done.faults:
                window.refuse(done.faults, prepared.end_s)
        return window.last_work(prepared)

    def _without_faults(
        self, indices: list[int], done: list[WorkResult], prepared: Mapping[int, PreparedHop]
    ) -> list[WorkResult]:
        """Make predictions again where new features were NaN, with what stands for the stream in their place."""
        results = dict(zip(indices, done, strict=True))
        works = [self.windows[i].refuse(results[i].faults, prepared[i].end_s) for i in indices if results[i].faults]
        for work, again in zip(works, self._execute(works, prepared), strict=True):
            results[work.source] = merged(results[work.source], again)
        return [results[i] for i in indices]

    def _execute(self, works: Sequence[Work], prepared: Mapping[int, PreparedHop]) -> list[WorkResult]:
        try:
            return self.executor.execute(works)
        except DeviceLostError as error:
            self._fail_over(error)
            repeated = [self.windows[work.source].repeat(work, prepared[work.source].end_s) for work in works]
            for window in self.windows:
                if window.index not in prepared:
                    window.forget()
            return self.executor.execute(repeated)

    def _fail_over(self, error: DeviceLostError) -> None:
        """Close what is lost, and go on with the CPU.

        Raises:
            DeviceLostError: nothing can take over, and this fleet is of no more use.
        """
        self.executor.close()
        capacity = self.windows[0].capacity
        try:
            failover = fail_over_to_cpu(self._bundle, self._layout, capacity, error, self._threads)
        except DeviceLostError:
            raise
        except TaemiError as problem:
            raise DeviceLostError(f"{error}; the CPU cannot take over: {problem}") from problem
        self.executor, self.lost = failover.executor, failover.reason

    def _prediction(self, index: int, done: WorkResult, prepared: PreparedHop, parts: Collection[str]) -> Prediction:
        watch = prepared.watch
        watch.add_parts(parts, done.part_ms)
        watch.total_ms["total"] = (time.perf_counter() - prepared.started_s) * 1e3
        window, self.outputs[index] = self.windows[index], done.outputs
        if done.outputs is None and not window.lacking:
            raise BackendError(f"{', '.join(sorted(done.faults))}: NaN again without new data")
        prediction = window.prediction(prepared.end_s, done.outputs, watch, self.executor.backend)
        return msgspec.structs.replace(prediction, model_id=self.model_id) if self.model_id else prediction


class Pipeline:
    """Runs one bundle on one source; a context manager. It is a `Fleet` of one.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        source: the source, or only the name that predictions carry.
        device: where to run; by default what the bundle was built for.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        window_s: how far back a prediction looks, in seconds; the bundle's own by default.
        hop_s: how often a prediction is made, in seconds; the bundle's own by default.

    Raises:
        UsageError, EngineError, BackendError: see `taemi_edge.runtime.opening.open_executor`.

    Example:
        Read a file hop by hop, and give each hop to `predict`:

        >>> import taemi_edge as te
        >>> bundle = te.open_bundle("export/taemi-tiny")
        >>> media = te.MediaFile("talk.mp4", streams=bundle.manifest.streams)
        >>> with te.Pipeline(bundle) as pipeline, media:
        ...     predictions = [pipeline.predict(hop) for hop in media.hops(0.5)]
        >>> predictions[1].presence["audio"]
        'live'
    """

    def __init__(
        self,
        bundle: Bundle,
        source: Source | str = "",
        *,
        device: Device | None = None,
        threads: int | None = None,
        window_s: float | None = None,
        hop_s: float | None = None,
    ) -> None:
        only = Source(source) if isinstance(source, str) else source
        self.fleet = Fleet(bundle, [only], device=device, threads=threads, window_s=window_s, hop_s=hop_s)

    @property
    def faces(self) -> dict[str, Face]:
        """The face that was last seen, by video stream; only where there is one."""
        return self.fleet.windows[0].faces

    def close(self) -> None:
        """Free the device."""
        self.fleet.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def predict(self, hop: Hop) -> Prediction:
        """Take in a hop, and make the prediction at its end.

        Raises:
            DeviceLostError: the device is gone and nothing can take over.
            BackendError: see `taemi_edge.runtime.work.Executor`.
        """
        return self.fleet.predict_one(0, hop)

    def encode(self, hop: Hop) -> None:
        """Encode a hop's pieces, and note the presence of their streams, without a prediction."""
        self.fleet.encode(0, self.fleet.prepare(0, hop, lazily=True))

    def features(self, stream: str, end_s: float) -> Array:
        """A copy of what the window that ends at `end_s` holds of a stream: (T, D), T possibly 0."""
        return self.fleet.features(0, stream, end_s)
