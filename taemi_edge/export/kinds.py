"""The kinds of streams that a model can declare, with what its encoder takes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from taemi_edge.errors import ContractError
from taemi_edge.export.declared_numbers import (
    require_chunk,
    require_count,
    require_not_negative,
    require_pair,
    require_positive,
)


@dataclass(frozen=True)
class Video:
    """Pictures. The encoder takes `pixels`, uint8 (batch, H, W, 3), or (batch, clip_frames, H, W, 3) for clips.

    Args:
        size_hw: height and width of the pictures that the encoder takes.
        frames_per_second: how many pictures a second are encoded.
        crop: "whole" resizes the whole picture, "centre" the largest centred rectangle of the wanted shape, "face" the
            largest face.
        clip_frames: how many pictures the encoder reads together.

    Example:
        >>> Video((64, 64), frames_per_second=5.0).crop
        'whole'
    """

    size_hw: tuple[int, int]
    frames_per_second: float
    crop: Literal["whole", "face", "centre"] = "whole"
    clip_frames: int = 1

    inputs = ("pixels",)

    def __post_init__(self) -> None:
        require_pair("size_hw", self.size_hw)
        require_positive("frames_per_second", self.frames_per_second)
        require_count("clip_frames", self.clip_frames)
        if self.crop not in ("whole", "face", "centre"):
            raise ContractError(f"expected crop to be 'whole', 'face' or 'centre', got {self.crop!r}")


@dataclass(frozen=True)
class Audio:
    """Sound. The encoder takes `samples`, float32 (batch, samples) in [-1, 1]: a chunk, with the context before it.

    Args:
        sample_rate_hz: the rate that sound is brought to.
        chunk_s: how many seconds are encoded at a time.
        context_s: how many seconds before a chunk the encoder reads as well; their features are cut away.

    Example:
        >>> Audio(16_000, chunk_s=0.5).context_s
        0.0
    """

    sample_rate_hz: int
    chunk_s: float
    context_s: float = 0.0

    inputs = ("samples",)

    def __post_init__(self) -> None:
        require_count("sample_rate_hz", self.sample_rate_hz)
        require_positive("chunk_s", self.chunk_s)
        require_chunk(self.chunk_s, self.sample_rate_hz)
        require_not_negative("context_s", self.context_s)


@dataclass(frozen=True)
class Text:
    """Words. The encoder takes `ids` and `mask`, int32 or int64 (batch, tokens).

    Args:
        tokenizer: a `tokenizer.json`, the folder that holds one, or an object of `tokenizers` or `transformers`.
        max_tokens: how many tokens of the window are read at most; the last words are kept.

    Example:
        >>> Text("tokenizer.json", max_tokens=64).inputs
        ('ids', 'mask')
    """

    tokenizer: Any
    max_tokens: int

    inputs = ("ids", "mask")

    def __post_init__(self) -> None:
        require_count("max_tokens", self.max_tokens)


@dataclass(frozen=True)
class Series:
    """Rows of numbers on a clock: an IMU, a heart rate, a radar, or features of your own.

    The encoder takes `values`, float32 (batch, channels) where `rate_hz` is 0, else (batch, steps, channels).

    Args:
        channels: how many numbers a row has.
        rate_hz: the rate that rows are resampled to. 0: every row is encoded by itself, when it comes.
        chunk_s: how many seconds are encoded at a time, to a whole number of rows; 0 where `rate_hz` is 0.
        context_s: how many seconds before a chunk the encoder reads as well; their features are cut away.
        max_rows: how many rows of a window are read where `rate_hz` is 0: the newest. Engines are built for as many.

    Example:
        >>> Series(channels=6, rate_hz=50.0, chunk_s=0.5).channels
        6
    """

    channels: int
    rate_hz: float = 0.0
    chunk_s: float = 0.0
    context_s: float = 0.0
    max_rows: int = 64

    inputs = ("values",)

    def __post_init__(self) -> None:
        require_count("channels", self.channels)
        require_count("max_rows", self.max_rows)
        for name in ("rate_hz", "chunk_s", "context_s"):
            require_not_negative(name, getattr(self, name))
        if (self.rate_hz > 0) != (self.chunk_s > 0):
            raise ContractError(
                f"expected rate_hz and chunk_s both above 0, or both 0 for rows that are encoded by themselves, got "
                f"{self.rate_hz!r} and {self.chunk_s!r}"
            )
        if self.rate_hz:
            require_chunk(self.chunk_s, self.rate_hz)


Kind: TypeAlias = Video | Audio | Text | Series
