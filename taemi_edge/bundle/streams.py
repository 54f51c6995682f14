"""The streams of a model: of which kind each is, what its encoder takes, and what stands for it when it is missing.

There are four kinds, each with a class of its own: `VideoSpec`, `AudioSpec`, `TextSpec` and `SeriesSpec`. A manifest
says by "kind" which one it is. Nothing here depends on the names of streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Final, Literal, TypeAlias

from taemi_edge.bundle.limits import (
    LEAST_FRAMES_PER_SECOND,
    MOST_FRAMES_PER_SECOND,
    MOST_INPUT_VALUES,
    MOST_PRESENCE_S,
    MOST_RATE_HZ,
    MOST_SIDE,
    MOST_STEPS,
    MOST_TEXT_TOKENS,
    MOST_TOKEN_VALUES,
    MOST_WIDTH,
    MOST_WINDOW_S,
)
from taemi_edge.bundle.values import Frozen

#: The kinds of streams, as manifests, TOML files and the page call them. They say what a stream carries, whatever its
#: name is.
VIDEO: Final = "video"
AUDIO: Final = "audio"
TEXT: Final = "text"
SERIES: Final = "series"
#: Up to so many streams, every set of live streams is a pattern of its own.
MOST_STREAMS_IN_FULL = 6

Pattern: TypeAlias = frozenset[str]


class PresenceSpec(Frozen, frozen=True):
    """When a stream is stale and missing (seconds without data), and when it has recovered (seconds with data).

    Example:
        >>> PresenceSpec(stale_after_s=0.5, missing_after_s=1.5, recover_after_s=0.5).missing_after_s
        1.5
    """

    stale_after_s: float
    missing_after_s: float
    recover_after_s: float

    def __post_init__(self) -> None:
        if not 0 < self.stale_after_s <= self.missing_after_s <= MOST_PRESENCE_S:
            raise ValueError(
                f"expected 0 < stale_after_s <= missing_after_s, of up to {MOST_PRESENCE_S:g} s, got "
                f"{self.stale_after_s} and {self.missing_after_s}"
            )
        if not 0 <= self.recover_after_s <= MOST_PRESENCE_S:
            raise ValueError(
                f"expected recover_after_s >= 0, of up to {MOST_PRESENCE_S:g} s, got {self.recover_after_s}"
            )


class MissingSpec(Frozen, frozen=True):
    """What the head reads where a stream is missing, as the model's training showed it.

    The values themselves lie in the bundle's `tokens.safetensors`, float32 (D,) or (steps, D).

    Attributes:
        kind: "learned" (a vector or steps that training found), "zeros", "mean" (over calibration data), or "mask"
            (zeros that the mask hides; only for heads with masks).
        steps: how many steps the stand-in has.
        length_error: how far the head's outputs move where a stand-in of one step is repeated to the length of an
            ordinary window: 0 for a head that is blind to the length. None where it was not measured.
    """

    kind: Literal["learned", "zeros", "mean", "mask"] = "learned"
    steps: int = 1
    length_error: float | None = None

    @property
    def mask(self) -> int:
        """The value of the mask over the stand-in."""
        return 0 if self.kind == "mask" else 1


class StreamBase(Frozen, frozen=True, kw_only=True):
    """What streams of every kind have.

    Attributes:
        feature_dim: the width D of the encoder's feature vectors.
        presence: when the stream is stale, missing, and back again.
        missing: what stands for the stream when it is missing.
        required: whether there is no prediction without it.
        min_steps, max_steps: the fewest and most feature vectors (steps) that the head takes of this stream.
    """

    feature_dim: int
    presence: PresenceSpec
    missing: MissingSpec = MissingSpec()
    required: bool = False
    min_steps: int = 1
    max_steps: int = 4096

    def __post_init__(self) -> None:
        if self.feature_dim < 1 or self.missing.steps < 1:
            raise ValueError(f"expected feature_dim and steps from 1, got {self.feature_dim} and {self.missing.steps}")
        if self.feature_dim > MOST_WIDTH or self.missing.steps * self.feature_dim > MOST_TOKEN_VALUES:
            raise ValueError(
                f"expected feature_dim of up to {MOST_WIDTH:,} and a stand-in of up to {MOST_TOKEN_VALUES:,} numbers, "
                f"got {self.feature_dim} and {self.missing.steps} steps"
            )
        if not 1 <= self.min_steps <= self.max_steps <= MOST_STEPS:
            raise ValueError(
                f"expected 1 <= min_steps <= max_steps, of up to {MOST_STEPS:,}, got {self.min_steps} and "
                f"{self.max_steps}"
            )


class ChunkedSpec(StreamBase, frozen=True, kw_only=True):
    """A stream that is encoded in chunks of `chunk_s` seconds, each with the `context_s` seconds before it."""

    chunk_s: float = 0.0
    context_s: float = 0.0

    @property
    def values_per_second(self) -> float:
        """The rate of the stream's values."""
        raise NotImplementedError

    @property
    def chunk_samples(self) -> int:
        """The length of a chunk in samples."""
        return round(self.chunk_s * self.values_per_second)

    @property
    def context_samples(self) -> int:
        """The length of the context before a chunk in samples."""
        return round(self.context_s * self.values_per_second)


class VideoSpec(StreamBase, frozen=True, kw_only=True, tag_field="kind", tag=VIDEO):
    """Pictures of `size_hw` pixels at `frames_per_second`; the encoder makes one feature vector of each.

    Attributes:
        crop: "face" is the largest face, "whole" the whole picture resized, "centre" the largest centred rectangle of
            the wanted shape.
        clip_frames: how many pictures the encoder reads together; 1 for one at a time.
    """

    size_hw: tuple[int, int]
    frames_per_second: float
    crop: Literal["face", "whole", "centre"] = "whole"
    clip_frames: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_pictures(self.size_hw, self.frames_per_second, self.clip_frames)


class AudioSpec(ChunkedSpec, frozen=True, kw_only=True, tag_field="kind", tag=AUDIO):
    """Mono PCM at `sample_rate_hz`, encoded chunk by chunk."""

    sample_rate_hz: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sound(self.sample_rate_hz, self.chunk_s, self.context_s)

    @property
    def values_per_second(self) -> float:
        return float(self.sample_rate_hz)


class TextSpec(StreamBase, frozen=True, kw_only=True, tag_field="kind", tag=TEXT):
    """The words of the window, as at most `max_tokens` token ids of the tokenizer in the file `tokenizer`."""

    max_tokens: int
    tokenizer: str = "tokenizer.json"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_tokens(self.max_tokens)


class SeriesSpec(ChunkedSpec, frozen=True, kw_only=True, tag_field="kind", tag=SERIES):
    """Rows of `channels` numbers: an IMU, a heart rate, a radar, or features of the user's own.

    Attributes:
        rate_hz: rows are resampled to this rate and encoded in chunks of `chunk_s` seconds. 0: every row is encoded by
            itself, when it comes, and `chunk_s` is 0 as well.
        max_rows: how many rows of a window are read where `rate_hz` is 0: the newest.
    """

    channels: int
    rate_hz: float = 0.0
    max_rows: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.channels, self.max_rows) < 1 or self.rate_hz < 0 or self.context_s < 0:
            raise ValueError(
                f"expected channels and max_rows >= 1, rate_hz and context_s >= 0, got {self.channels}, "
                f"{self.max_rows}, {self.rate_hz} and {self.context_s}"
            )
        if max(self.channels, self.max_rows) > MOST_WIDTH:
            raise ValueError(
                f"expected channels and max_rows of up to {MOST_WIDTH:,}, got {self.channels} and {self.max_rows}"
            )
        if (self.rate_hz > 0) != (self.chunk_s > 0):
            raise ValueError(
                f"expected rate_hz and chunk_s both above 0, or both 0, got {self.rate_hz} and {self.chunk_s}"
            )
        if self.rate_hz and self.chunk_samples < 1:
            raise ValueError(f"expected chunk_s of a row or more, got {self.chunk_s} at {self.rate_hz} Hz")
        _require_rates(self.rate_hz, self.chunk_s, self.context_s, self.channels)

    @property
    def values_per_second(self) -> float:
        return self.rate_hz


def require_pictures(size_hw: tuple[int, int], frames_per_second: float, clip_frames: int = 1) -> None:
    """Refuse pictures that no camera gives or no device holds.

    Raises:
        ValueError: they have no pixels, too many, or come too fast or too slowly.
    """
    if not LEAST_FRAMES_PER_SECOND <= frames_per_second <= MOST_FRAMES_PER_SECOND:
        raise ValueError(
            f"expected frames_per_second > 0, from one in an hour to {MOST_FRAMES_PER_SECOND:g}, got "
            f"{frames_per_second}"
        )
    if clip_frames < 1 or min(size_hw) < 1:
        raise ValueError(f"expected clip_frames and size_hw from 1, got {clip_frames} and {size_hw}")
    if max(size_hw) > MOST_SIDE or size_hw[0] * size_hw[1] * clip_frames > MOST_INPUT_VALUES:
        raise ValueError(
            f"expected size_hw of up to {MOST_SIDE:,} and clips of up to {MOST_INPUT_VALUES:,} pixels, got {size_hw} "
            f"and {clip_frames} pictures"
        )


def require_sound(sample_rate_hz: int, chunk_s: float, context_s: float) -> None:
    """Refuse sound that no microphone gives or no device holds.

    Raises:
        ValueError: a chunk has no samples, too many, or they come too fast.
    """
    if not (chunk_s > 0 and context_s >= 0 and sample_rate_hz > 0 and chunk_s * sample_rate_hz > 0.5):
        raise ValueError(
            f"expected chunk_s of a sample or more and context_s >= 0, got {chunk_s} and {context_s} at "
            f"{sample_rate_hz} Hz"
        )
    _require_rates(sample_rate_hz, chunk_s, context_s, 1)


def require_tokens(max_tokens: int) -> None:
    """Refuse a number of tokens that no text encoder takes.

    Raises:
        ValueError: it is too small or too large.
    """
    if max_tokens < 1:
        raise ValueError(f"expected max_tokens from 1, got {max_tokens}")
    if max_tokens > MOST_TEXT_TOKENS:
        raise ValueError(f"expected max_tokens of up to {MOST_TEXT_TOKENS:,}, got {max_tokens}")


def _require_rates(rate_hz: float, chunk_s: float, context_s: float, channels: int) -> None:
    """Refuse chunks that no device holds."""
    if not (rate_hz <= MOST_RATE_HZ and chunk_s <= MOST_WINDOW_S and context_s <= MOST_WINDOW_S):
        raise ValueError(
            f"expected up to {MOST_RATE_HZ:g} Hz, and chunk_s and context_s of up to {MOST_WINDOW_S:g} s, got "
            f"{rate_hz}, {chunk_s} and {context_s}"
        )
    if (chunk_s + context_s) * rate_hz * channels > MOST_INPUT_VALUES:
        raise ValueError(
            f"expected chunks of up to {MOST_INPUT_VALUES:,} values with their context, got {chunk_s} s after "
            f"{context_s} s of {channels} at {rate_hz} Hz"
        )


StreamSpec: TypeAlias = VideoSpec | AudioSpec | TextSpec | SeriesSpec


def kind_name(spec: StreamSpec | type[StreamSpec]) -> str:
    """The kind of a stream, or of a class of them, in a word: `VIDEO`, `AUDIO`, `TEXT` or `SERIES`.

    >>> kind_name(TextSpec(feature_dim=4, max_tokens=64, presence=PresenceSpec(
    ...     stale_after_s=2.0, missing_after_s=4.0, recover_after_s=0.0)))
    'text'
    """
    of = spec if isinstance(spec, type) else type(spec)
    return str(of.__struct_config__.tag)


def presence_patterns(streams: Mapping[str, StreamSpec], declared: Iterable[Iterable[str]] = ()) -> tuple[Pattern, ...]:
    """List the sets of live streams that a model is checked and calibrated in, the complete one first.

    Up to six streams these are all sets. Beyond, they are the complete set, the empty one, those without one stream,
    those of one or two streams, and the ones that the model declares. Sets without a required stream are left out.

    Args:
        streams: by name, in the model's order.
        declared: further sets of live streams.

    Example:
        >>> imu = SeriesSpec(feature_dim=4, channels=6, presence=PresenceSpec(
        ...     stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5))
        >>> [pattern_name(pattern, "ab") for pattern in presence_patterns({"a": imu, "b": imu})]
        ['a+b', 'a', 'b', 'none']
    """
    names = tuple(streams)
    count = len(names)
    if count <= MOST_STREAMS_IN_FULL:
        codes = range(2**count - 1, -1, -1)
        found = [frozenset(n for i, n in enumerate(names) if code >> (count - 1 - i) & 1) for code in codes]
    else:
        every = frozenset(names)
        found = [every, *(every - {name} for name in names)]
        found += [frozenset(pair) for pair in combinations(names, 2)] + [frozenset({name}) for name in names]
        found += [frozenset(pattern) for pattern in declared] + [frozenset()]
    required = {name for name, spec in streams.items() if spec.required}
    return tuple(pattern for pattern in dict.fromkeys(found) if required <= pattern)


def pattern_name(pattern: Iterable[str], streams: Iterable[str]) -> str:
    """Give the name of a set of live streams, in the order of `streams`; the empty set is `none`.

    >>> pattern_name(frozenset({"imu", "camera"}), ("camera", "radar", "imu"))
    'camera+imu'
    """
    live = frozenset(pattern)
    return "+".join(name for name in streams if name in live) or "none"


def pattern_of(name: str) -> Pattern:
    """The set of live streams that `pattern_name` gave a name to.

    >>> sorted(pattern_of("camera+imu")), pattern_of("none")
    (['camera', 'imu'], frozenset())
    """
    return frozenset() if name == "none" else frozenset(name.split("+"))


def lost_name(pattern: str, streams: Iterable[str]) -> str:
    """Say in words which streams a `pattern_name` lacks: `no radar`, `imu only`, `no a, b` or `no signal`.

    >>> lost_name("camera+imu", ("camera", "radar", "imu"))
    'no radar'
    """
    names = tuple(streams)
    left = pattern_of(pattern)
    lost = [name for name in names if name not in left]
    if not lost:
        return "all streams"
    if not left:
        return "no signal"
    return f"{next(iter(left))} only" if len(left) == 1 and len(lost) > 1 else f"no {', '.join(lost)}"
