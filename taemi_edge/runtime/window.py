"""One source's hops in, what is to be encoded and fused out: faces, chunks, words, presence and the window's rows.

Nothing is encoded here. What a window will hold is known beforehand, so that a whole hop is one call to the executor.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, Array, Manifest, Modality
from taemi_edge.media.chunks import MAX_BATCH, Segment, step_times
from taemi_edge.media.crops import Face, FaceCrop
from taemi_edge.media.hops import Hop
from taemi_edge.media.inputs import InputReader
from taemi_edge.media.rehearsed_losses import Drop, apply_drops, dropped_at, words_after_drops
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.presence import Presence, StreamPresence
from taemi_edge.runtime.rings import RingIndex, StepCounts
from taemi_edge.runtime.work import SoundChunk, Stopwatch, Work

_EPSILON_S = 1e-6


@dataclass(frozen=True)
class Source:
    """A source as the runtime sees it.

    Attributes:
        name: what predictions carry.
        words: what is said in it, in the order of time.
        drops: losses to rehearse.
        absent: why a stream will never come ("the file has no audio stream"), by modality.
        patience_s: how long sound that arrives late is waited for.
    """

    name: str = ""
    words: tuple[Word, ...] = ()
    drops: tuple[Drop, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    patience_s: float = 0.0


@dataclass(frozen=True, eq=False)
class PreparedHop:
    """A hop whose faces were found and whose sound was cut: what is costly and needs none of the source's state.

    `crops` may still be prepared at as they are taken. `watch` goes with the hop to its prediction, and `started_s`, on
    `time.perf_counter`, is when it came.
    """

    end_s: float
    crops: Iterator[FaceCrop]
    segments: list[Segment]
    audio_fault: str | None
    watch: Stopwatch
    started_s: float
    losses: Mapping[Modality, str] = field(default_factory=dict)
    words: tuple[Word, ...] = ()


class SourceWindow:
    """What one source has given so far, without its features.

    `prepare` may be called in a thread of the source's own; everything else belongs to the executor's thread.

    Args:
        index: which of the executor's sources this is.
        window_s: how far back a prediction looks.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer_json: str,
        source: Source,
        index: int,
        window_s: float,
        capacity: Mapping[Modality, int],
        steps: StepCounts,
    ) -> None:
        self.manifest, self.source, self.index, self.window_s = manifest, source, index, window_s
        self._words = words_after_drops(source.words, source.drops)
        self._presence = {
            m: StreamPresence(manifest.presence_of(m), source.absent.get(m, "nothing received yet")) for m in MODALITIES
        }
        self._reader = InputReader(manifest.vision, manifest.audio, source.patience_s)
        self._rings = {m: RingIndex(capacity[m]) for m in ("vision", "audio")}
        self.capacity, self._steps = dict(capacity), steps
        self._tokenizer = WordTokenizer(tokenizer_json, manifest.text.max_tokens)
        self._text = _Text()
        self._newest_word_s = -1.0
        self._judged: dict[Modality, Presence] = {}
        #: Streams that were known to be gone at the last hop.
        self._gone: set[Modality] = set()

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None while the picture is missing."""
        return self._reader.face

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the last window."""
        return self._text.words

    def prepare(self, hop: Hop, lazily: bool = False) -> PreparedHop:
        """Find the faces of a hop and cut its sound; `lazily` looks at frames when they are taken, a few at a time."""
        watch, started_s = Stopwatch(), time.perf_counter()
        left = apply_drops(hop, self.source.drops, self.manifest.audio.sample_rate_hz)
        crops = _timed(self._reader.crops(left.frames), watch, "face")
        segments = self._reader.segments(left.samples, left.end_s)
        taken = crops if lazily else iter(list(crops))
        return PreparedHop(hop.end_s, taken, segments, left.audio_fault, watch, started_s, left.losses, left.words)

    def works(self, prepared: PreparedHop, fuse: bool = True) -> Iterator[Work]:
        """What a hop asks for: encoder calls of at most MAX_BATCH inputs, and last a whole one with the window.

        The last is made only when all before it were taken: presence is what the hop's own data say.
        """
        end_s = prepared.end_s
        frames = self._seen(prepared)
        while len(frames) >= MAX_BATCH and (more := self._seen(prepared)):
            yield self._frames_work(frames)
            frames = more
        segments = self._heard(prepared)
        while len(segments) > MAX_BATCH:
            yield Work(self.index, sounds=self._sounds(segments[:MAX_BATCH]), fuse=False)
            segments = segments[MAX_BATCH:]
        seen, sounds = self._frames_work(frames), self._sounds(segments)
        self._words += words_after_drops(prepared.words, self.source.drops)
        for m in MODALITIES:
            if reason := prepared.losses.get(m):
                self._presence[m].lose(end_s, reason)
                self._gone.add(m)
            elif m in self._gone:
                self._gone.discard(m)
                self._presence[m].suspect("connected, and nothing usable has come yet")
            if drop := dropped_at(self.source.drops, m, end_s):
                self._presence[m].lose(end_s, f"dropped by --drop {drop}")
        ids = self._new_ids(end_s) if fuse and "text" not in prepared.losses else None
        window = self.window(end_s) if fuse else {}
        if fuse and "vision" not in window:
            self._reader.face = None
        yield Work(self.index, seen.pixels, seen.pixel_rows, sounds, ids, window, fuse)

    def again(self, work: Work, end_s: float) -> Work:
        """The same hop anew on a device that has no features of before: what it brought, and the text as a whole."""
        self._rings["vision"].keep_only(work.pixel_rows)
        self._rings["audio"].keep_only(np.concatenate([np.zeros(0, np.int32), *(sound.rows for sound in work.sounds)]))
        ids = self._text.ids if len(self._text.ids) else None
        return Work(self.index, work.pixels, work.pixel_rows, work.sounds, ids, self.window(end_s), work.fuse)

    def forget(self) -> None:
        """All features are gone: the rings are empty, and the words are encoded again with the next hop."""
        for ring in self._rings.values():
            ring.keep_only(np.zeros(0, np.int32))
        self._text = _Text()

    def refuse(self, faults: Iterable[Modality], end_s: float) -> Work:
        """Give up the streams whose features were no numbers; the window without them."""
        for m in faults:
            self._presence[m].lose(end_s, "NaN in its features")
            if m == "text":
                self._text = _Text(self._text.words)
            else:
                self._rings[m].keep_only(np.zeros(0, np.int32))
        return Work(self.index, window=self.window(end_s))

    def rows(self, modality: Modality, end_s: float) -> Array:
        """Where the features of the window that ends at `end_s` lie, (T,), T possibly 0."""
        if modality == "text":
            return np.arange(len(self._text.ids))
        return self._rings[modality].window(end_s - self.window_s, end_s)

    def window(self, end_s: float) -> dict[Modality, Array]:
        """The rows of every stream that may be used; one of which the window holds nothing is missing as well."""
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
        """The hop's line of output, with the presence that its window was made for."""
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

    def _seen(self, prepared: PreparedHop) -> list[tuple[float, Array]]:
        """The times and faces of the next frames, at most a batch of them; what they tell of the picture is noted.

        None where the picture is known to be gone by now: its encoder need not run.
        """
        found: list[tuple[float, Array]] = []
        for crop in prepared.crops if "vision" not in prepared.losses else ():
            if crop.pixels is None:
                self._presence["vision"].suspect("no face in view")
                continue
            self._presence["vision"].arrive(crop.time_s)
            found.append((crop.time_s, crop.pixels))
            if len(found) == MAX_BATCH:
                break
        return found

    def _frames_work(self, frames: list[tuple[float, Array]]) -> Work:
        rows = self._rings["vision"].push(np.array([time_s for time_s, _ in frames]))
        return Work(self.index, [pixels for _, pixels in frames], rows, fuse=False)

    def _heard(self, prepared: PreparedHop) -> list[Segment]:
        if "audio" in prepared.losses:
            return []
        if prepared.audio_fault:
            self._presence["audio"].suspect(prepared.audio_fault)
        for segment in prepared.segments:
            self._presence["audio"].arrive(segment.end_s)
        return prepared.segments

    def _sounds(self, segments: list[Segment]) -> list[SoundChunk]:
        sounds = []
        for segment in segments:
            samples = len(segment.samples)
            kept = self._rings["audio"].push(step_times(segment, self._steps.kept(samples)))
            rows = np.full(self._steps.encoded(samples), -1, np.int32)
            rows[-len(kept) :] = kept
            sounds.append(SoundChunk(segment.samples, rows))
        return sounds

    def _new_ids(self, end_s: float) -> Array | None:
        """The window's token ids where its words are others than last time; None where nothing is to be encoded."""
        if dropped_at(self.source.drops, "text", end_s):
            return None
        self._words = [word for word in self._words if word.end_s > end_s - self.window_s]
        spoken = [word for word in self._words if word.end_s <= end_s + _EPSILON_S]
        if spoken and spoken[-1].end_s > self._newest_word_s:
            self._newest_word_s = spoken[-1].end_s
            self._presence["text"].arrive(self._newest_word_s)
        words = tuple(word.text for word in spoken)
        if words == self._text.words or not self._presence["text"].at(end_s).usable:
            return None
        ids = self._tokenizer.feeds([" ".join(words)])["ids"][0] if words else np.zeros(0, np.int32)
        self._text = _Text(words, ids)
        return ids if words else None


def _timed(crops: Iterator[FaceCrop], watch: Stopwatch, name: str) -> Iterator[FaceCrop]:
    """The same items, each one's making counted under a name."""
    while True:
        with watch.timed(name):
            crop = next(crops, None)
        if crop is None:
            return
        yield crop


@dataclass(frozen=True, eq=False)
class _Text:
    """The words that were encoded last, and their token ids; no ids where they have no features."""

    words: tuple[str, ...] = ()
    ids: Array = field(default_factory=lambda: np.zeros(0, np.int32))
