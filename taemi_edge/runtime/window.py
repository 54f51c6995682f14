"""Keeps the state of one source from hop to hop, and says what each hop needs from the executor.

The state is the presence of each stream and the rows where its features lie. Nothing is encoded here: what a window
will hold is known before anything is encoded, so that a whole hop is one call to the executor.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, Manifest, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.media.crops import Face, FaceDetector
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop, apply_drops, dropped_at, words_after_drops
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.kinds.audio import AudioStream
from taemi_edge.runtime.kinds.text import TextStream
from taemi_edge.runtime.kinds.video import VideoStream
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.presence import Presence, StreamPresence
from taemi_edge.runtime.work import Executor, Stopwatch, Work


@dataclass(frozen=True)
class Source:
    """Describes a source to the runtime.

    Attributes:
        name: what predictions carry.
        words: what is said in it, in the order of time.
        drops: losses to rehearse.
        absent: why a stream will never come ("the file has no audio stream"), by stream.
        patience_s: how long sound that arrives late is waited for.

    Example:
        >>> Source("door camera", absent={"text": "no transcript was given"}).name
        'door camera'
    """

    name: str = ""
    words: Sequence[Word] = ()
    drops: Sequence[Drop] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = 0.0


class SourceWindow:
    """The window of one source: its streams, without their features.

    `prepare` may be called in a thread of the source's own; everything else belongs to the executor's thread.

    Args:
        manifest: of the bundle.
        source: which source this is.
        index: the source's number in the executor.
        window_s: how far back a prediction looks, in seconds.
        executor: runs the source's works; it says how many rows the source has in the ring of each stream.
        tokenizer: the bundle's; sources share it.
        detector: finds the source's faces; sources do not share one, since they look for faces at the same time.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: Source,
        index: int,
        window_s: float,
        executor: Executor,
        tokenizer: WordTokenizer,
        detector: FaceDetector,
    ) -> None:
        self.manifest, self.source, self.index, self.window_s = manifest, source, index, window_s
        capacity = self.capacity = dict(executor.capacity)
        presence = {
            m: StreamPresence(manifest.streams[m].presence, source.absent.get(m, "nothing received yet"))
            for m in MODALITIES
        }
        self._video = VideoStream(manifest.vision, presence["vision"], capacity["vision"], detector)
        self._audio = AudioStream(
            manifest.audio, presence["audio"], capacity["audio"], executor.steps, source.patience_s
        )
        self._text = TextStream(tokenizer, presence["text"], words_after_drops(source.words, source.drops))
        self._presence = presence
        self._judged: dict[Modality, Presence] = {}
        #: Streams that were known to be gone at the last hop.
        self._gone: set[Modality] = set()

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None while the picture is missing."""
        return self._video.face

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the last window."""
        return self._text.words

    def prepare(self, hop: Hop, lazily: bool = False) -> PreparedHop:
        """Find the faces of a hop and cut its sound.

        Args:
            lazily: find a face only when its crop is taken, so that a long hop need not lie in memory as a whole.
        """
        watch, started_s = Stopwatch(), time.perf_counter()
        left = apply_drops(hop, self.source.drops, self.manifest.audio.sample_rate_hz)
        segments = self._audio.prepare(left.samples, left.end_s)
        crops = self._video.prepare(left.frames, watch, lazily)
        return PreparedHop(hop.end_s, crops, segments, left.audio_fault, watch, started_s, left.losses, left.words)

    def works(self, hop: PreparedHop, fuse: bool = True) -> Iterator[Work]:
        """What a hop needs from the executor: encoder calls of at most MAX_BATCH inputs, and at last the window.

        The last one is made only when all before it were taken: the hop's own data decide the presence of its streams.
        """
        end_s = hop.end_s
        faces = yield from self._early_works(self._video, hop)
        segments = yield from self._early_works(self._audio, hop)
        encoded = {**self._video.place(faces), **self._audio.place(segments)}
        self._text.add(words_after_drops(hop.words, self.source.drops))
        self._note_losses(hop)
        ids = self._new_ids(hop) if fuse else None
        window = self.window(end_s) if fuse else {}
        if fuse and "vision" not in window:
            self._video.forget_face()
        yield Work(self.index, **encoded, ids=ids, window=window, fuse=fuse)

    def repeat(self, work: Work, end_s: float) -> Work:
        """The same hop for a device that has no earlier features: what the hop brought, and the text as a whole."""
        self._video.keep_only(work)
        self._audio.keep_only(work)
        window = self.window(end_s)
        return Work(self.index, work.pixels, work.pixel_rows, work.sounds, self._text.ids, window, work.fuse)

    def forget(self) -> None:
        """Forget all features: the rings are empty, and the words are encoded again with the next hop."""
        self._video.forget()
        self._audio.forget()
        self._text.forget()

    def refuse(self, faults: Iterable[Modality], end_s: float) -> Work:
        """Give up the streams whose new features hold a NaN; returns the work for the window without them."""
        for m in faults:
            self._presence[m].lose(end_s, "NaN in its features")
            if m == "text":
                self._text.refuse()
            else:
                (self._video if m == "vision" else self._audio).forget()
        return Work(self.index, window=self.window(end_s))

    def rows(self, modality: Modality, end_s: float) -> Array:
        """Where the features of the window that ends at `end_s` lie, (T,), T possibly 0."""
        if modality == "text":
            return self._text.rows()
        stream = self._video if modality == "vision" else self._audio
        return stream.rows(end_s - self.window_s, end_s)

    def window(self, end_s: float) -> dict[Modality, Array]:
        """The rows of every stream that may be used; a stream of which the window holds nothing is missing as well."""
        window: dict[Modality, Array] = {}
        for m in MODALITIES:
            presence = self._presence[m].at(end_s)
            if presence.usable and len(rows := self.rows(m, end_s)):
                window[m] = rows
            elif presence.usable:
                presence = Presence("missing", None, "nothing in the window")
            self._judged[m] = presence
        return window

    def prediction(self, end_s: float, intensities: Array, watch: Stopwatch, backend: str) -> Prediction:
        """The hop's prediction, with the presence of the streams when its window was made.

        Args:
            intensities: float32 (6,).
            watch: the times of the hop's parts.
            backend: where it was made.
        """
        presence = self._judged
        age_s = {m: presence[m].age_s for m in MODALITIES}
        parts = (*MODALITIES, "fusion", "face", "total")
        return Prediction(
            source=self.source.name,
            time_s=round(end_s, 6),
            window_s=(round(max(0.0, end_s - self.window_s), 6), round(end_s, 6)),
            intensities={name: round(float(value), 6) for name, value in zip(EMOTIONS, intensities, strict=True)},
            presence={m: presence[m].state for m in MODALITIES},
            age_ms={m: None if (age := age_s[m]) is None else round(age * 1e3, 1) for m in MODALITIES},
            latency_ms={name: round(watch.total_ms.get(name, 0.0), 3) for name in parts},
            reason={m: reason for m in MODALITIES if (reason := presence[m].reason) is not None},
            status="ok" if any(p.usable for p in presence.values()) else "no signal",
            backend=backend,
        )

    def _early_works(self, stream: VideoStream | AudioStream, hop: PreparedHop) -> Generator[Work, None, Sequence[Any]]:
        """Yield the work for all batches of a stream but the last, which is returned.

        A batch gets its rows just before it runs: a fault in one batch then clears no row of the next.
        """
        held: Sequence[Any] = ()
        for batch in stream.batches(hop):
            if held:
                yield Work(self.index, **stream.place(held), fuse=False)
            held = batch
        return held

    def _note_losses(self, hop: PreparedHop) -> None:
        """Note the streams that are known to be gone, those that are back, and those that a rehearsed loss takes."""
        for m, presence in self._presence.items():
            if reason := hop.losses.get(m):
                presence.lose(hop.end_s, reason)
                self._gone.add(m)
            elif m in self._gone:
                self._gone.discard(m)
                presence.suspect("connected, and nothing usable has come yet")
            if drop := dropped_at(self.source.drops, m, hop.end_s):
                presence.lose(hop.end_s, f"dropped by --drop {drop}")

    def _new_ids(self, hop: PreparedHop) -> Array | None:
        """The window's token ids where its words are others than last time; None where nothing is to be encoded."""
        if "text" in hop.losses or dropped_at(self.source.drops, "text", hop.end_s):
            return None
        return self._text.new_ids(hop.end_s - self.window_s, hop.end_s)
