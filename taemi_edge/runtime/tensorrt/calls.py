"""Divides the work of a hop into calls that fit the engines, and names the shapes of each call.

Every call is padded to one of a few sizes, so that a captured CUDA graph can be replayed for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from taemi_edge.bundle.spec import Manifest, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.work import Item, Layout, Work

#: Batches are padded up to one of these, which bounds how many graphs there can be.
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
#: Texts are padded up to a multiple of so many tokens.
TOKENS_STEP = 16

T = TypeVar("T")


@dataclass(frozen=True)
class GraphCase:
    """What decides the shapes and addresses of a call: padded batches, and the streams that at least one source has.

    Attributes:
        frames: how many frames; 0 where there are no new ones.
        audio: (chunks, samples of each chunk); zeros where there is no new sound.
        text: (texts, tokens of each text); zeros where no text changed.
        live: the streams that at least one source has; None where only encoders run.
    """

    frames: int
    audio: tuple[int, int]
    text: tuple[int, int]
    live: frozenset[Modality] | None


@dataclass(frozen=True, eq=False)
class Call:
    """The inputs that go to the device together.

    Attributes:
        frames: (source, face crop uint8 (H, W, 3), row of the source's ring) for each frame.
        sounds: (source, chunk) for each chunk of sound; all chunks have one length.
        texts: (source, token ids int32 (T,)) for each text.
        windows: the works that want a prediction from this call.
    """

    frames: Sequence[tuple[int, Array, int]] = ()
    sounds: Sequence[tuple[int, Item]] = ()
    texts: Sequence[tuple[int, Array]] = ()
    windows: Sequence[Work] = ()


def split_into_calls(works: Sequence[Work], most: Mapping[Modality, int]) -> Iterator[Call]:
    """Divide works into calls of at most what the engines take; the last call also makes the predictions.

    Args:
        most: how many frames, chunks and texts the engines take in one call.
    """
    frames = [(w.source, item.feeds["pixels"], int(item.rows[0])) for w in works for item in w.items.get("vision", ())]
    sounds = [(work.source, item) for work in works for item in work.items.get("audio", ())]
    texts = [(work.source, item.feeds["ids"]) for work in works for item in work.items.get("text", ())]
    windows = [work for work in works if work.fuse]
    lengths = sorted({len(sound.feeds["samples"]) for _, sound in sounds})
    fits = len(frames) <= most["vision"] and len(sounds) <= most["audio"] and len(texts) <= most["text"]
    if fits and len(lengths) <= 1:  # as every ordinary hop does
        yield Call(frames, sounds, texts, windows)
        return
    by_length = [[pair for pair in sounds if len(pair[1].feeds["samples"]) == length] for length in lengths]
    vision = list(_split(frames, most["vision"]))
    audio = [piece for group in by_length for piece in _split(group, most["audio"])]
    text = list(_split(texts, most["text"]))
    count = max(len(vision), len(audio), len(text), 1 if windows else 0)
    for index in range(count):
        last = index == count - 1
        yield Call(_at(vision, index), _at(audio, index), _at(text, index), windows if last else ())


def padded(count: int, most: int) -> int:
    """A batch's size as it is run: the next bucket, at most what the engine takes; 0 stays 0.

    >>> padded(5, 48), padded(0, 48), padded(40, 44)
    (6, 0, 44)
    """
    return 0 if count == 0 else min(next((b for b in BUCKETS if b >= count), most), most)


def padded_tokens(longest: int, most: int) -> int:
    """How many tokens a batch of texts is padded to.

    >>> padded_tokens(17, 128), padded_tokens(125, 120)
    (32, 120)
    """
    return min(-(-longest // TOKENS_STEP) * TOKENS_STEP, most)


def usual_frame_counts(manifest: Manifest, layout: Layout, most: int) -> list[int]:
    """How many frames an ordinary hop of all sources brings, padded.

    There are two counts where the frame rate is no multiple of the hop rate.
    """
    each = manifest.vision.frames_per_second * layout.hop_s
    counts = {math.floor(each) * layout.sources, math.ceil(each) * layout.sources}
    return sorted({padded(min(count, most), most) for count in counts})


def _split(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), most):
        yield items[at : at + most]


def _at(pieces: Sequence[Sequence[T]], index: int) -> Sequence[T]:
    return pieces[index] if index < len(pieces) else ()
