"""Keeps the state of one source from hop to hop, and says what each hop needs from the executor.

The state is the presence of each stream and the rows where its features lie. Nothing is encoded here: what a window
will hold is known before anything is encoded, so that a whole hop is one call to the executor.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import TextSpec, VideoSpec
from taemi_edge.bundle.training_data import said_shortly
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import UsageError
from taemi_edge.media.faces import Face, FaceDetector
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop, apply_drops, dropped_at, require_known, words_after_drops
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.kinds import fixed_steps, kind_of
from taemi_edge.runtime.kinds.kind import Opening, StreamState
from taemi_edge.runtime.prediction import Prediction, Status
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.presence import Presence, StreamPresence
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.work import Executor, Item, Stopwatch, Work

#: The latency of what is found in a picture before it is encoded, and that of the whole hop.
FACE, TOTAL = "face", "total"


@dataclass(frozen=True)
class Source:
    """Describes a source to the runtime.

    Attributes:
        name: what predictions carry.
        words: what is said in it, in the order of time: of every text stream, or by stream.
        drops: losses to rehearse.
        absent: why a stream will never come ("the file has no audio stream"), by stream.
        patience_s: how long sound that arrives late is waited for.

    Example:
        >>> Source("door camera", absent={"text": "no transcript was given"}).name
        'door camera'
    """

    name: str = ""
    words: Sequence[Word] | Mapping[str, Sequence[Word]] = ()
    drops: Sequence[Drop] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = 0.0

    def words_of(self, stream: str) -> Sequence[Word]:
        """What is said in a text stream, as far as that is known beforehand."""
        return self.words.get(stream, ()) if isinstance(self.words, Mapping) else self.words


@dataclass(frozen=True, eq=False)
class Tools:
    """What the streams of a source need beside its data.

    Attributes:
        tokenizers: the tokenizer of each text stream; sources share them.
        detector: finds faces; sources do not share one, since they look for faces at the same time. None where no
            stream looks for faces.
    """

    tokenizers: Mapping[str, WordTokenizer] = field(default_factory=dict)
    detector: FaceDetector | None = None


def open_tools(bundle: Bundle, sources: int) -> list[Tools]:
    """The tools of each of some sources."""
    streams = bundle.manifest.streams
    tokenizers = {
        name: WordTokenizer(bundle.read_tokenizer(name), spec.max_tokens)
        for name, spec in streams.items()
        if isinstance(spec, TextSpec)
    }
    finds_faces = has_faces(bundle.manifest)
    return [Tools(tokenizers, FaceDetector() if finds_faces else None) for _ in range(sources)]


def has_faces(manifest: Manifest) -> bool:
    """Whether a stream of the model looks for faces."""
    return any(isinstance(spec, VideoSpec) and spec.crop == "face" for spec in manifest.streams.values())


class SourceWindow:
    """The window of one source: its streams, without their features.

    `prepare` may be called in a thread of the source's own; everything else belongs to the executor's thread.

    Args:
        manifest: of the bundle.
        source: which source this is.
        index: the source's number in the executor.
        window_s: how far back a prediction looks, in seconds.
        executor: runs the source's works; it says how many rows the source has in the ring of each stream.
        tools: tokenizers and a face detector.

    Raises:
        UsageError: the source names a stream that the model does not have.
    """

    def __init__(
        self, manifest: Manifest, source: Source, index: int, window_s: float, executor: Executor, tools: Tools
    ) -> None:
        self.manifest, self.source, self.index, self.window_s = manifest, source, index, window_s
        self._is_synthetic = manifest.synthetic
        self._trained_on = said_shortly(manifest.trained_on) if manifest.synthetic else ""
        require_known(source.drops, manifest.streams)
        self.capacity = dict(executor.capacity)
        self._presence = {
            name: StreamPresence(spec.presence, source.absent.get(name, "nothing received yet"))
            for name, spec in manifest.streams.items()
        }
        self._streams = {name: self._open_stream(name, executor, tools) for name in manifest.streams}
        self._judged: dict[str, Presence] = {}
        #: Streams that were known to be gone at the last hop.
        self._gone: set[str] = set()
        self._required = [name for name, spec in manifest.streams.items() if spec.required]
        self._timed_parts = (*manifest.streams, HEAD, *((FACE,) if has_faces(manifest) else ()), TOTAL)

    @property
    def faces(self) -> dict[str, Face]:
        """The face that was last seen, by video stream; only where there is one."""
        return {name: state.face for name, state in self._streams.items() if state.face is not None}

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """The words of the last window, by text stream."""
        return {n: state.words for n, state in self._streams.items() if isinstance(self.manifest.streams[n], TextSpec)}

    def prepare(self, hop: Hop, lazily: bool = False) -> PreparedHop:
        """Find the faces of a hop and cut its sound.

        Pictures come first: where one of them cannot be read, nothing of the other streams has been taken in yet.

        Args:
            lazily: find a face only when its crop is taken, so that a long hop need not lie in memory as a whole.

        Raises:
            UsageError: the hop has pieces of a stream that the model does not have.
        """
        if unknown := sorted(set(hop.pieces) - set(self._streams)):
            raise UsageError(f"expected pieces of the streams {', '.join(self._streams)}, got {unknown[0]!r}")
        watch, started_s = Stopwatch(), time.perf_counter()
        left = apply_drops(hop, self.source.drops, self.manifest.streams)
        for state in self._streams.values():
            state.frames_share = hop.frames_share
        order = sorted(self._streams, key=lambda name: not isinstance(self.manifest.streams[name], VideoSpec))
        prepared = {
            name: self._streams[name].prepare(left.pieces.get(name, ()), left.end_s, watch, lazily) for name in order
        }
        return PreparedHop(hop.end_s, prepared, watch, started_s, left.faults, left.losses)

    def works(self, hop: PreparedHop, fuse: bool = True) -> Iterator[Work]:
        """What a hop needs from the executor, in order: `early_works`, and then `last_work`."""
        yield from self.early_works(hop)
        yield self.last_work(hop, fuse)

    def early_works(self, hop: PreparedHop) -> Iterator[Work]:
        """The encoder calls of a long hop: all batches of MAX_BATCH inputs but the last one of each stream.

        A batch gets its rows just before it runs: a fault in one batch then clears no row of the next.
        """
        for name, state in self._streams.items():
            lost = name in hop.losses
            if name in hop.faults and not lost:
                self._presence[name].suspect(hop.faults[name])
            for batch in state.batches(hop.prepared[name], lost):
                if name in hop.held:
                    yield Work(self.index, {name: state.place(hop.held[name])}, fuse=False)
                hop.held[name] = batch

    def last_work(self, hop: PreparedHop, fuse: bool = True) -> Work:
        """The rest of a hop's inputs, and its window; to be asked for when all works before it were run.

        Args:
            fuse: whether a prediction is wanted. There is none all the same where a stream is missing that the model
                requires.
        """
        items = {name: self._streams[name].place(batch) for name, batch in hop.held.items()}
        self._note_losses(hop)
        if not fuse:
            return Work(self.index, items, fuse=False)
        for name, state in self._streams.items():
            if name in hop.losses or dropped_at(self.source.drops, name, hop.end_s):
                continue
            if whole := state.at_hop_end(hop.end_s - self.window_s, hop.end_s):
                items[name] = [*items[name], *whole] if name in items else whole
        work = self._fusing(hop.end_s, items)
        for name, state in self._streams.items():
            if not self._judged[name].usable:
                state.forget_face()
        return work

    def repeat(self, work: Work, end_s: float) -> Work:
        """The same hop for a device that has no earlier features: what the hop brought, and the text as a whole."""
        items = {name: state.repeated(work.items.get(name, ())) for name, state in self._streams.items()}
        return self._fusing(end_s, items) if work.fuse else Work(self.index, items, fuse=False)

    def forget(self) -> None:
        """Forget all features: the rings are empty, and the words are encoded again with the next hop."""
        for state in self._streams.values():
            state.forget()

    def refuse(self, faults: Iterable[str], end_s: float) -> Work:
        """Give up the streams whose new features hold a NaN; returns the work for the window without them."""
        for name in faults:
            self._presence[name].lose(end_s, "NaN in its features")
            self._streams[name].refuse()
        return self._fusing(end_s, {})

    def rows(self, stream: str, end_s: float) -> Span:
        """Where the features of the window that ends at `end_s` lie, possibly none; the newest if too many."""
        rows = self._streams[stream].rows(end_s - self.window_s, end_s)
        return rows.newest(self.manifest.streams[stream].max_steps, self.capacity[stream])

    def window(self, end_s: float) -> dict[str, Span]:
        """The rows of every stream that may be used; one of which the window holds too little is missing as well."""
        window: dict[str, Span] = {}
        for name, spec in self.manifest.streams.items():
            presence = self._presence[name].at(end_s)
            if presence.usable:
                rows = self.rows(name, end_s)
                if rows.count >= spec.min_steps:
                    window[name] = rows
                else:
                    few = f"too few steps: {rows.count} of at least {spec.min_steps}"
                    presence = Presence("missing", None, few if rows.count else "nothing in the window")
            self._judged[name] = presence
        return window

    @property
    def lacking(self) -> list[str]:
        """The streams that the model requires and that the last window did not hold."""
        return [name for name in self._required if not self._judged[name].usable]

    def prediction(
        self, end_s: float, outputs: Mapping[str, Array] | None, watch: Stopwatch, backend: str
    ) -> Prediction:
        """The hop's prediction, with the presence of the streams when its window was made.

        Args:
            outputs: what the head gave, float32 (n,) by group; None where a required stream is missing.
            watch: the times of the hop's parts.
            backend: where it was made.
        """
        presence, manifest = self._judged, self.manifest
        age_s = {name: judged.age_s for name, judged in presence.items()}
        status: Status = "ok" if any(p.usable for p in presence.values()) else "no signal"
        return Prediction(
            source=self.source.name,
            time_s=round(end_s, 6),
            window_s=(round(max(0.0, end_s - self.window_s), 6), round(end_s, 6)),
            outputs={
                name: None if outputs is None else spec.described(outputs[name])
                for name, spec in manifest.outputs.items()
            },
            presence={name: judged.state for name, judged in presence.items()},
            age_ms={name: None if age is None else round(age * 1e3, 1) for name, age in age_s.items()},
            latency_ms={name: watch.ms(name) for name in self._timed_parts},
            reason={name: judged.reason for name, judged in presence.items() if judged.reason is not None},
            status=status if outputs is not None else "no prediction",
            backend=backend,
            synthetic=self._is_synthetic,
            trained_on=self._trained_on,
        )

    def _open_stream(self, name: str, executor: Executor, tools: Tools) -> StreamState:
        spec, source = self.manifest.streams[name], self.source
        opening = Opening(
            spec,
            self._presence[name],
            executor.capacity[name],
            steps=executor.steps.get(name),
            fixed_steps=fixed_steps(self.manifest, name),
            patience_s=source.patience_s,
            words=words_after_drops(source.words_of(name), source.drops, name),
            tokenizer=tools.tokenizers.get(name),
            detector=tools.detector,
            name=name,
            slots=executor.slots(name),
            source=self.index,
        )
        return kind_of(spec).open_stream(opening)

    def _fusing(self, end_s: float, items: Mapping[str, Sequence[Item]]) -> Work:
        """The work for the window that ends at `end_s`; without a prediction where a required stream is missing."""
        window = self.window(end_s)
        if self.lacking:
            return Work(self.index, items, fuse=False)
        return Work(self.index, items, window)

    def _note_losses(self, hop: PreparedHop) -> None:
        """Note the streams that are known to be gone, those that are back, and those that a rehearsed loss takes."""
        if not (hop.losses or self._gone or self.source.drops):
            return
        for name, presence in self._presence.items():
            if reason := hop.losses.get(name):
                presence.lose(hop.end_s, reason)
                self._gone.add(name)
            elif name in self._gone:
                self._gone.discard(name)
                presence.suspect("connected, and nothing usable has come yet")
            if drop := dropped_at(self.source.drops, name, hop.end_s):
                presence.lose(hop.end_s, f"dropped by --drop {drop}")
