"""Reading one clip or sample into what the encoders of a bundle take, and its labels.

Nothing else in calibration depends on the form of the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.calibration.stream_inputs import StreamInputs
from taemi_edge.corpora.clip_encoding import clip_rows
from taemi_edge.corpora.clip_reading import Reading, read_clip, video_and_sound
from taemi_edge.corpora.extract import labels_of
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus
from taemi_edge.corpora.stream_files import sample_rows, sample_words
from taemi_edge.errors import CalibrationError
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.parity.samples import Row, Sample, calls_of

#: What a calibration reads: a clip of media, or a sample.
AnyClip: TypeAlias = Clip | SampleClip


@dataclass(frozen=True, eq=False)
class ReadClip:
    """One clip: what the encoders take, by stream, and its labels, float32, side by side; NaN where it has none."""

    inputs: dict[str, StreamInputs]
    labels: Array


def read_inputs(clip: AnyClip, bundle: Bundle, tokenizers: Mapping[str, WordTokenizer], longest_s: float) -> ReadClip:
    """Read at most `longest_s` seconds of a clip for the encoders of a bundle, as the runtime reads a stream.

    Args:
        clip: of any corpus.
        bundle: its streams and outputs count.
        tokenizers: of its streams of text.
        longest_s: a sample in arrays is read whole.

    Raises:
        InputError: the clip cannot be read, or does not fit the bundle.
    """
    streams, outputs = bundle.manifest.streams, bundle.manifest.outputs
    further: dict[str, list[dict[str, Array]]] = {}
    if isinstance(clip, SampleClip):
        clip.require_names(streams, outputs)
        rows = sample_rows(clip, streams, tokenizers, longest_s)
        spoken = {name: sample_words(clip, name, longest_s, streams[name]) for name in tokenizers}
        further = {name: _shorter_texts(words, tokenizers[name]) for name, words in spoken.items()}
    else:
        rows, further = _media_rows(clip, bundle, tokenizers, longest_s)
    inputs = {name: StreamInputs(calls_of(found), further.get(name, [])) for name, found in rows.items()}
    return ReadClip(inputs, np.array(labels_of(clip, outputs), np.float32))


def _media_rows(
    clip: Clip, bundle: Bundle, tokenizers: Mapping[str, WordTokenizer], longest_s: float
) -> tuple[dict[str, list[Row]], dict[str, list[dict[str, Array]]]]:
    """The rows of each stream, and the shorter texts that its encoder meets while the clip runs."""
    streams = bundle.manifest.streams
    video, audio = video_and_sound(streams)
    read = read_clip(clip, video, audio, Reading(longest_s=longest_s))
    texts = [name for name, spec in streams.items() if isinstance(spec, TextSpec)]
    further = {name: _shorter_texts(read.words, tokenizers[name]) for name in texts}
    return clip_rows(read, streams, tokenizers), further


def _shorter_texts(words: list[Word], tokenizer: WordTokenizer) -> list[dict[str, Array]]:
    """Give the feeds of texts that the runtime encodes before the last one: of the first word, and of half of them."""
    counts = sorted({count for count in (1, len(words) // 2) if 0 < count < len(words)})
    return [tokenizer.feeds([" ".join(word.text for word in words[:count])]) for count in counts]


def samples_corpus(
    samples: Iterable[Sample], name: str = "samples", *, held_out: Iterable[Sample] = ()
) -> SampleCorpus:
    """Give samples in memory as a corpus.

    Args:
        samples: give ranges.
        name: what reports call them.
        held_out: judge the result; without any, a quarter of `samples` does.

    Example:
        >>> corpus = samples_corpus([{"imu/values": np.zeros(6, np.float32)}], "bench")
        >>> [clip.id for clip in corpus.split("train")]
        ['train-0']
    """
    clips = tuple(
        SampleClip(f"{split}-{number}", split, f"{name}, {split} sample {number}", None, sample, Path())
        for split, found in (("train", samples), ("test", held_out))
        for number, sample in enumerate(found)
    )
    return SampleCorpus(Path(name), clips, None, "")


def require_corpus(data: AnyCorpus | Sequence[Sample]) -> AnyCorpus:
    """Give a corpus, or samples in memory as one.

    Raises:
        CalibrationError: there is nothing in it.
    """
    corpus = samples_corpus(data) if isinstance(data, Sequence) else data
    if not corpus.clips:
        raise CalibrationError(
            f"{corpus.folder}: expected clips or samples to calibrate on, got none; the samples that are frozen in a "
            f"bundle's golden feeds are too few to find ranges on"
        )
    return corpus
