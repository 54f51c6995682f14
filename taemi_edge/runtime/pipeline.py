"""Hops in, predictions out: for one source (`Pipeline`), or for several that share every call (`Fleet`).

A hop encodes the frames and audio chunks that came since the last one; what the window still holds of older ones is
read from rings. Frames are encoded alone and audio in chunks of a fixed grid, so that a file run hop by hop gives the
same features as one pass over all of it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.spec import Array, Modality
from taemi_edge.errors import BackendError, BundleError, DeviceLostError
from taemi_edge.media.crops import Face
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.sessions import Device
from taemi_edge.runtime.window import Source, SourceWindow
from taemi_edge.runtime.work import Executor, Layout, Work, WorkResult, merged


class Fleet:
    """The runtime of one bundle on several sources; a context manager that owns its executor.

    Where the GPU is lost, the bundle of graphs that the engines were built from takes over on the CPU, if it is there.

    Args:
        sources: what predictions call them, and what is known of each beforehand.
        window_s, hop_s: the bundle's own by default.

    Example:
        >>> with Fleet(open_bundle(folder), [Source("door"), Source("desk")]) as fleet:        # doctest: +SKIP
        ...     prepared = {0: fleet.prepare(0, hop_of_door), 1: fleet.prepare(1, hop_of_desk)}
        ...     for prediction in fleet.predict(prepared):
        ...         print(prediction.to_json())
    """

    def __init__(
        self,
        bundle: Bundle,
        sources: Sequence[Source],
        *,
        device: Device | None = None,
        threads: int = 0,
        window_s: float | None = None,
        hop_s: float | None = None,
    ) -> None:
        self.manifest = bundle.manifest
        self.window_s = window_s or self.manifest.window.length_s
        self._bundle, self._threads = bundle, threads
        self._layout = Layout(len(sources), self.window_s, hop_s or self.manifest.window.hop_s)
        #: Why the device was given up; None while it runs.
        self.lost: str | None = None
        self.executor: Executor = open_executor(bundle, self._layout, device, threads)
        try:
            self.windows = self._make_windows(sources)
        except BaseException:
            self.executor.close()
            raise

    def close(self) -> None:
        self.executor.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def prepare(self, index: int, hop: Hop, lazily: bool = False) -> PreparedHop:
        """Find faces and cut sound of a source's next hop; may be called in a thread of that source's own."""
        return self.windows[index].prepare(hop, lazily)

    def predict(self, prepared: Mapping[int, PreparedHop]) -> list[Prediction]:
        """Take in one hop each of some sources and give their predictions, in the order of the sources.

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

    def encode(self, index: int, prepared: PreparedHop) -> None:
        """Take in a hop of one source without predicting."""
        for work in self.windows[index].works(prepared, fuse=False):
            self._execute([work], {index: prepared})

    def features(self, index: int, modality: Modality, end_s: float) -> Array:
        """A copy of what the window that ends at `end_s` holds of a stream: (T, D), T possibly 0."""
        return self.executor.features(index, modality, self.windows[index].rows(modality, end_s))

    def _make_windows(self, sources: Sequence[Source]) -> list[SourceWindow]:
        tokenizer = self._bundle.tokenizer_file.read_text(encoding="utf-8")
        capacity, steps = self.executor.capacity, self.executor.steps
        return [
            SourceWindow(self.manifest, tokenizer, source, index, self.window_s, capacity, steps)
            for index, source in enumerate(sources)
        ]

    def _after_early_works(self, index: int, prepared: PreparedHop) -> Work:
        """Run what a long hop asks for beforehand; its last work is left."""
        window = self.windows[index]
        last = Work(index)
        for work in window.works(prepared):
            last = work
            if not work.fuse:
                [done] = self._execute([work], {index: prepared})
                prepared.watch.add(done.part_ms)
                if done.faults:
                    window.refuse(done.faults, prepared.end_s)
        return last

    def _without_faults(
        self, indices: list[int], done: list[WorkResult], prepared: Mapping[int, PreparedHop]
    ) -> list[WorkResult]:
        """Fuse again those whose new features were no numbers, with the token in their place."""
        results = dict(zip(indices, done, strict=True))
        works = [self.windows[i].refuse(results[i].faults, prepared[i].end_s) for i in indices if results[i].faults]
        for work, again in zip(works, self._execute(works, prepared), strict=True):
            results[work.source] = merged(results[work.source], again)
        return [results[i] for i in indices]

    def _execute(self, works: Sequence[Work], prepared: Mapping[int, PreparedHop]) -> list[WorkResult]:
        try:
            return self.executor.execute(works)
        except DeviceLostError as error:
            self._fall_back(error)
            again = [self.windows[work.source].repeat(work, prepared[work.source].end_s) for work in works]
            for window in self.windows:
                if window.index not in prepared:
                    window.forget()
            return self.executor.execute(again)

    def _fall_back(self, error: DeviceLostError) -> None:
        """Close what is lost and open the graphs that the engines were built from, on the CPU."""
        self.executor.close()
        engine = self.manifest.engine
        if engine is None:
            raise error
        try:
            graphs = open_bundle(Path(engine.source))
        except BundleError as missing:
            raise DeviceLostError(
                f"{error}; there is no bundle of graphs to go on with on the CPU: {missing}"
            ) from error
        if graphs.manifest.sha256.get("tokens.safetensors") != self.manifest.sha256.get("tokens.safetensors"):
            raise DeviceLostError(f"{error}; {graphs.folder} is another model by now: nothing can take over") from error
        self.executor = open_executor(graphs, self._layout, "cpu", self._threads)
        if self.executor.capacity != self.windows[0].capacity:
            raise BackendError(f"{graphs.folder}: expected the same numbers of steps as the engines give")
        self.lost = f"{error}: going on with {graphs.folder} on the CPU"

    def _prediction(self, index: int, done: WorkResult, prepared: PreparedHop, parts: Collection[str]) -> Prediction:
        watch = prepared.watch
        watch.add({part: ms for part, ms in done.part_ms.items() if part in parts})
        watch.total_ms["total"] = (time.perf_counter() - prepared.started_s) * 1e3
        if done.intensities is None:
            raise BackendError(f"{', '.join(sorted(done.faults))}: NaN again without new data")
        return self.windows[index].prediction(prepared.end_s, done.intensities, watch, self.executor.backend)


class Pipeline:
    """A `Fleet` of one source.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        source: the name that predictions carry.
        window_s: how far back a prediction looks; the bundle's own by default.
        drops: losses to rehearse.
        absent: why a stream will never come ("the file has no audio stream"), by modality.

    Example:
        >>> with Pipeline(open_bundle(Path("export/taemi-mobile"))) as pipeline:     # doctest: +SKIP
        ...     with MediaFile(Path("talk.mp4"), 16_000, 5.0) as media:
        ...         for hop in media.hops(0.5):
        ...             print(pipeline.predict(hop).to_json())
    """

    def __init__(
        self,
        bundle: Bundle,
        source: str = "",
        *,
        device: Device | None = None,
        threads: int = 0,
        window_s: float | None = None,
        hop_s: float | None = None,
        words: Iterable[Word] = (),
        drops: Iterable[Drop] = (),
        absent: Mapping[str, str] | None = None,
    ) -> None:
        only = Source(source, tuple(words), tuple(drops), absent or {})
        self.fleet = Fleet(bundle, [only], device=device, threads=threads, window_s=window_s, hop_s=hop_s)

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None while the picture is missing."""
        return self.fleet.windows[0].face

    def close(self) -> None:
        self.fleet.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def predict(self, hop: Hop) -> Prediction:
        """Take in a hop and give the prediction at its end."""
        [prediction] = self.fleet.predict({0: self.fleet.prepare(0, hop, lazily=True)})
        return prediction

    def encode(self, hop: Hop) -> None:
        """Encode a hop's frames and sound into the rings and tell the presence of their streams, without predicting."""
        self.fleet.encode(0, self.fleet.prepare(0, hop, lazily=True))

    def features(self, modality: Modality, end_s: float) -> Array:
        """A copy of what the window that ends at `end_s` holds of a stream: (T, D), T possibly 0."""
        return self.fleet.features(0, modality, end_s)
