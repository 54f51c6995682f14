"""Hops in, predictions out: encode what is new, keep features in rings, bind tokens for what is missing, fuse.

A hop encodes the frames and audio chunks that came since the last one; what the window still holds of older ones is
read from the rings. Frames are encoded alone and audio in chunks of a fixed grid, so that a file run hop by hop gives
the same features as one pass over all of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Literal

import msgspec
import numpy as np

from taemi_edge.bundle import Bundle
from taemi_edge.runtime.drops import Drop, apply_drops, dropped_at, words_after_drops
from taemi_edge.runtime.inputs import MAX_BATCH, FaceCrop, InputReader, encode_crops, encode_segments
from taemi_edge.runtime.preprocess import Face, WordTokenizer
from taemi_edge.runtime.presence import Presence, State, StreamPresence
from taemi_edge.runtime.session import Device, Sessions, open_sessions
from taemi_edge.runtime.sources import Hop
from taemi_edge.runtime.transcript import Word
from taemi_edge.spec import EMOTIONS, MODALITIES, Array, Modality

_EPSILON_S = 1e-6


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output: six intensities with what they rest on.

    `status` is "no signal" where all three tokens were bound: the intensities are then the model's prior.
    `reason` says why a stream is not live. `age_ms` is the age of a stream's newest data, null where it is missing.
    `latency_ms` holds each part's own time, `face` (detection and crop) and `total`, the wall time of the hop.
    """

    source: str
    time_s: float
    window_s: tuple[float, float]
    intensities: dict[str, float]
    presence: dict[str, State]
    age_ms: dict[str, float | None]
    latency_ms: dict[str, float]
    reason: dict[str, str]
    status: Literal["ok", "no signal"]

    def to_json(self) -> str:
        """One line, without the line end."""
        return msgspec.json.encode(self).decode()


class FeatureRing:
    """Feature vectors with their times, float32 (T, D); a window of them is a view, never a copy.

    Two windows' worth is allocated once. At the end of the buffer the newest half moves to its front.
    """

    def __init__(self, capacity: int, dim: int) -> None:
        self._capacity = capacity
        self._features = np.zeros((2 * capacity, dim), np.float32)
        self._times_s = np.zeros(2 * capacity)
        self._filled = 0

    def push(self, times_s: Array, features: Array) -> None:
        """Append (T,) times, not before the newest one, and (T, D) features."""
        times_s, features = times_s[-self._capacity :], features[-self._capacity :]
        if self._filled + len(times_s) > len(self._times_s):
            keep = slice(max(0, self._filled - self._capacity), self._filled)
            kept = keep.stop - keep.start
            self._times_s[:kept] = self._times_s[keep].copy()
            self._features[:kept] = self._features[keep].copy()
            self._filled = kept
        new = slice(self._filled, self._filled + len(times_s))
        self._times_s[new], self._features[new] = times_s, features
        self._filled = new.stop

    def window(self, after_s: float, until_s: float) -> Array:
        """The features of (after_s, until_s], (T, D), T possibly 0."""
        times = self._times_s[: self._filled]
        first, last = np.searchsorted(times, [after_s + _EPSILON_S, until_s + _EPSILON_S], side="right")
        return self._features[first:last]


class Stopwatch:
    """Adds up milliseconds under names."""

    def __init__(self) -> None:
        self.total_ms: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        elapsed_ms = (time.perf_counter() - start) * 1e3
        self.total_ms[name] = self.total_ms.get(name, 0.0) + elapsed_ms


class Pipeline:
    """The runtime of one bundle on one source; a context manager that owns its sessions.

    Args:
        bundle: what `taemi_edge.bundle.open_bundle` gave.
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
        words: Iterable[Word] = (),
        drops: Iterable[Drop] = (),
        absent: Mapping[str, str] | None = None,
    ) -> None:
        manifest = bundle.manifest
        self.manifest = manifest
        self.source = source
        self.window_s = window_s or manifest.window.length_s
        self._drops = tuple(drops)
        self._words = words_after_drops(words, self._drops)
        absent = absent or {}
        self._presence = {
            m: StreamPresence(manifest.presence_of(m), absent.get(m, "nothing received yet")) for m in MODALITIES
        }
        self._sessions: Sessions = open_sessions(bundle, device, threads)
        self._reader = InputReader(manifest.vision, manifest.audio)
        self._rings = self._allocate_rings()
        self._text = _TextWindow(
            WordTokenizer(bundle.tokenizer_file.read_text(encoding="utf-8"), manifest.text.max_tokens),
            manifest.text.feature_dim,
        )
        self._tokens = {m: np.ascontiguousarray(bundle.tokens[m][None, None], np.float32) for m in MODALITIES}
        self._newest_word_s = -1.0

    @property
    def face(self) -> Face | None:
        """The face that was last seen; None while the picture is missing."""
        return self._reader.face

    def close(self) -> None:
        self._sessions.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def predict(self, hop: Hop) -> Prediction:
        """Take in a hop and give the prediction at its end."""
        watch = Stopwatch()
        with watch.timed("total"):
            self.encode(hop, watch)
            self._encode_text(hop.end_s, watch)
            presence = {m: self._presence_at(m, hop.end_s) for m in MODALITIES}
            if not presence["vision"].usable:
                self._reader.face = None
            feeds = self.fusion_feeds(hop.end_s, presence)
            with watch.timed("fusion"):
                intensities = self._sessions["fusion"].run(feeds)["intensities"][0]
        return self._prediction(hop.end_s, intensities, presence, watch)

    def encode(self, hop: Hop, watch: Stopwatch | None = None) -> None:
        """Encode a hop's frames and sound into the rings and tell the presence of their streams, without predicting."""
        watch = watch or Stopwatch()
        hop = apply_drops(hop, self._drops, self.manifest.audio.sample_rate_hz)
        self._encode_frames(hop, watch)
        self._encode_samples(hop, watch)
        for m in MODALITIES:
            if drop := dropped_at(self._drops, m, hop.end_s):
                self._presence[m].lose(hop.end_s, f"dropped by --drop {drop}")

    def features(self, modality: Modality, end_s: float) -> Array:
        """What the rings hold of the window that ends at `end_s`: (T, D), T possibly 0."""
        if modality == "text":
            return self._text.features
        return self._rings[modality].window(end_s - self.window_s, end_s)

    def fusion_feeds(self, end_s: float, presence: Mapping[Modality, Presence]) -> dict[str, Array]:
        """What the fusion head is fed: the features of usable streams, the tokens of all others, every mask 1."""
        feeds: dict[str, Array] = {}
        for m in MODALITIES:
            feeds[m] = self.features(m, end_s)[None] if presence[m].usable else self._tokens[m]
            feeds[f"{m}_mask"] = np.ones(feeds[m].shape[:2], np.int32)
        return feeds

    def _encode_frames(self, hop: Hop, watch: Stopwatch) -> None:
        crops = self._reader.crops(hop.frames)
        while batch := self._looked_at(crops, watch):
            with watch.timed("vision"):
                times_s, features = encode_crops(self._sessions["vision"].run, batch)
            if len(times_s):
                self._rings["vision"].push(times_s, features)

    def _looked_at(self, crops: Iterator[FaceCrop], watch: Stopwatch) -> list[FaceCrop]:
        """The next frames, at most a batch of them, and what they tell of the picture's presence."""
        with watch.timed("face"):
            batch = list(islice(crops, MAX_BATCH))
        for crop in batch:
            if crop.pixels is None:
                self._presence["vision"].suspect("no face in view")
            else:
                self._presence["vision"].arrive(crop.time_s)
        return batch

    def _encode_samples(self, hop: Hop, watch: Stopwatch) -> None:
        segments = self._reader.segments(hop.samples, hop.end_s)
        if hop.audio_fault:
            self._presence["audio"].suspect(hop.audio_fault)
        if not segments:
            return
        with watch.timed("audio"):
            times_s, features = encode_segments(self._sessions["audio"].run, segments)
        self._rings["audio"].push(times_s, features)
        for segment in segments:
            self._presence["audio"].arrive(segment.end_s)

    def _encode_text(self, end_s: float, watch: Stopwatch) -> None:
        if dropped_at(self._drops, "text", end_s):
            return
        spoken = [word for word in self._words if end_s - self.window_s < word.end_s <= end_s + _EPSILON_S]
        if spoken and spoken[-1].end_s > self._newest_word_s:
            self._newest_word_s = spoken[-1].end_s
            self._presence["text"].arrive(self._newest_word_s)
        feeds = self._text.feeds_if_new([word.text for word in spoken])
        if feeds is not None:
            with watch.timed("text"):
                self._text.features = self._sessions["text"].run(feeds)["features"][0]

    def _presence_at(self, modality: Modality, end_s: float) -> Presence:
        """The stream's presence, and missing where the window holds nothing of it whatever its state."""
        presence = self._presence[modality].at(end_s)
        if presence.usable and not len(self.features(modality, end_s)):
            return Presence("missing", None, "nothing in the window")
        return presence

    def _allocate_rings(self) -> dict[str, FeatureRing]:
        """Room for the longest window: frames by their rate, audio by what one chunk gives."""
        audio = self.manifest.audio
        silence = np.zeros((1, audio.chunk_samples), np.float32)
        per_chunk = self._sessions["audio"].run({"samples": silence})["features"].shape[1]
        frames = int(self.window_s * self.manifest.vision.frames_per_second) + 2
        steps = (int(self.window_s / audio.chunk_s) + 2) * per_chunk
        return {
            "vision": FeatureRing(max(frames, MAX_BATCH), self.manifest.vision.feature_dim),
            "audio": FeatureRing(steps, audio.feature_dim),
        }

    def _prediction(
        self, end_s: float, intensities: Array, presence: Mapping[Modality, Presence], watch: Stopwatch
    ) -> Prediction:
        age_s = {m: presence[m].age_s for m in MODALITIES}
        parts = (*MODALITIES, "fusion", "face", "total")
        return Prediction(
            source=self.source,
            time_s=round(end_s, 6),
            window_s=(round(max(0.0, end_s - self.window_s), 6), round(end_s, 6)),
            intensities={name: round(float(value), 6) for name, value in zip(EMOTIONS, intensities, strict=True)},
            presence={m: presence[m].state for m in MODALITIES},
            age_ms={m: None if (age := age_s[m]) is None else round(age * 1e3, 1) for m in MODALITIES},
            latency_ms={name: round(watch.total_ms.get(name, 0.0), 3) for name in parts},
            reason={m: reason for m in MODALITIES if (reason := presence[m].reason) is not None},
            status="ok" if any(p.usable for p in presence.values()) else "no signal",
        )


class _TextWindow:
    """The window's words and their features, encoded anew only when the words change."""

    def __init__(self, tokenizer: WordTokenizer, feature_dim: int) -> None:
        self._tokenizer = tokenizer
        self._nothing = np.zeros((0, feature_dim), np.float32)
        self._words: list[str] = []
        self.features: Array = self._nothing

    def feeds_if_new(self, words: list[str]) -> dict[str, Array] | None:
        """The text encoder's feeds where the words are others than last time; None where nothing is to be encoded."""
        if words == self._words:
            return None
        self._words = words
        self.features = self._nothing
        return self._tokenizer.feeds([" ".join(words)]) if words else None
