"""What a source gives: frames, samples and words of a hop; decoded sound is placed where its timestamps say."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import av
import numpy as np

from taemi_edge.bundle.spec import Array, Modality
from taemi_edge.media.transcripts import Word

#: Sound whose timestamp is further than this from where it should follow is placed anew.
_AUDIO_JUMP_S = 0.05
_EPSILON_S = 1e-6


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture at `time_s`; `image` is decoded to upright RGB, uint8 (H, W, 3), when first asked for."""

    time_s: float
    picture: Any

    @cached_property
    def image(self) -> Array:
        # by default each frame's conversion starts threads of its own, which takes twenty times as long
        pixels: Array = self.picture.to_ndarray(format="rgb24", threads=1)
        turns = round(getattr(self.picture, "rotation", 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


@dataclass(frozen=True, eq=False)
class Samples:
    """Mono PCM, float32 (n,) in [-1, 1], whose first sample belongs to `time_s`."""

    time_s: float
    values: Array


@dataclass
class Hop:
    """What a source gave up to `end_s`: since the last hop, in the order of time."""

    end_s: float
    frames: list[Frame] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    #: Why sound of this hop could not be used (NaN), if so.
    audio_fault: str | None = None
    #: Streams that are known to be gone at its end, each with why: they are missing without waiting.
    losses: dict[Modality, str] = field(default_factory=dict)
    #: Words that came to be known since the last hop, in the order of time.
    words: tuple[Word, ...] = ()


def is_finite(sound: Any) -> bool:
    """Whether a decoded audio frame holds numbers alone; only floating-point formats can hold others."""
    return not sound.format.name.startswith(("flt", "dbl")) or bool(np.isfinite(sound.to_ndarray()).all())


class AudioPlacer:
    """Decoded sound in, mono samples of one rate out, each where its timestamp says."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler: Any = None
        self._setup: tuple[str, str, int] | None = None
        self._run_start_s = 0.0
        self._given = 0
        self._taken_s = 0.0

    @property
    def until_s(self) -> float:
        """Where the samples given so far end."""
        return self._run_start_s + self._given / self._rate_hz

    def place(self, sound: Any, time_s: float | None) -> list[Samples]:
        expected_s = self._run_start_s + self._taken_s
        setup = (sound.format.name, sound.layout.name, sound.sample_rate)
        before: list[Samples] = []
        jumped = time_s is not None and abs(time_s - expected_s) > _AUDIO_JUMP_S
        if self._resampler is None or setup != self._setup or jumped:
            before = self.finish()
            self._run_start_s = expected_s if time_s is None else time_s
            self._resampler = av.AudioResampler(format="fltp", layout=sound.layout, rate=self._rate_hz)
            self._setup = setup
        self._taken_s += sound.samples / sound.sample_rate
        sound.pts = None  # the resampler would follow it; the place is ours to decide
        return before + self._give(self._resampler.resample(sound))

    def finish(self) -> list[Samples]:
        """Flush what the resampler holds back; the next sound starts a new run."""
        rest = self._give(self._resampler.resample(None)) if self._resampler is not None else []
        self._run_start_s, self._given, self._taken_s = self.until_s, 0, 0.0
        self._resampler = None
        return rest

    def skip_to(self, time_s: float) -> None:
        """Leave a gap: what follows starts at `time_s`."""
        self._run_start_s, self._given, self._taken_s = time_s, 0, 0.0

    def _give(self, resampled: list[Any]) -> list[Samples]:
        given = []
        for frame in resampled:
            values = np.ascontiguousarray(frame.to_ndarray().mean(axis=0, dtype=np.float32))
            given.append(Samples(self.until_s, values))
            self._given += len(values)
        return given


class FrameGrid:
    """Chooses the first frame of each 1 / `frames_per_second` slot: from timestamps alone, so the same in any run."""

    def __init__(self, frames_per_second: float) -> None:
        self._rate = frames_per_second
        self._last_slot = -1

    def wants(self, time_s: float) -> bool:
        slot = int(np.floor(max(0.0, time_s) * self._rate + _EPSILON_S))
        if slot <= self._last_slot:
            return False
        self._last_slot = slot
        return True
