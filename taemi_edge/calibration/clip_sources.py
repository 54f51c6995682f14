"""Where the clips of a calibration come from: a corpus of labelled media, or samples of the encoders' inputs.

Both are read into `ReadClip`, so that nothing else in calibration depends on the form of the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec
from taemi_edge.bundle.streams import AudioSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.calibration.stream_inputs import StreamInputs, sample_inputs
from taemi_edge.corpora.clip_reading import ClipInputs, Reading, read_clip
from taemi_edge.corpora.labelled_clips import SPLITS, Clip, Corpus
from taemi_edge.errors import CalibrationError, InputError
from taemi_edge.media.chunks import of_equal_length
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word

#: A sample of a model: arrays by `STREAM/INPUT` without a batch axis, and by `label/OUTPUT`.
Sample = Mapping[str, Array]
_LABEL = "label"


@dataclass(frozen=True, eq=False)
class ReadClip:
    """One clip: what the encoders take, by stream, and its labels by output, NaN where it has none."""

    inputs: dict[str, StreamInputs]
    labels: dict[str, Array]


class ClipEntry(Protocol):
    """A clip that can be read, in a process of its own too."""

    @property
    def id(self) -> str:
        """Unique among the clips."""
        ...

    def read(self, bundle: Bundle, longest_s: float) -> ReadClip:
        """Read at most `longest_s` seconds of the clip for the encoders of a bundle.

        Raises:
            InputError: the clip cannot be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class ClipSource:
    """The clips of a calibration before any of them is read.

    Attributes:
        place: where they are, for messages.
        name: what reports call them.
        synthetic: whether they are synthetic.
        splits: the clips by split: train, valid and test.
    """

    place: str
    name: str
    synthetic: bool
    splits: Mapping[str, Sequence[ClipEntry]]


# ---------------------------------------------------------------------------------------------------------- media


@dataclass(frozen=True, eq=False)
class MediaEntry:
    """A clip of a corpus with video, sound and words. Its labels are those of the model's first output."""

    clip: Clip

    @property
    def id(self) -> str:
        return self.clip.id

    def read(self, bundle: Bundle, longest_s: float) -> ReadClip:
        """Read the clip as the runtime reads a stream."""
        streams, outputs = bundle.manifest.streams, bundle.manifest.outputs
        videos = {name: spec for name, spec in streams.items() if isinstance(spec, VideoSpec)}
        sounds = {name: spec for name, spec in streams.items() if isinstance(spec, AudioSpec)}
        if len(videos) != 1 or len(sounds) != 1 or len(outputs) != 1:
            raise InputError(
                f"expected a model of one video, one sound and one output for clips of this layout, got "
                f"{', '.join(streams)} and {', '.join(outputs)}: calibrate it on a folder of samples (.npz)"
            )
        ((video, video_spec),), ((sound, sound_spec),) = videos.items(), sounds.items()
        read = read_clip(self.clip, video_spec, sound_spec, Reading(longest_s=longest_s))
        inputs = {name: StreamInputs() for name in streams}
        inputs[video] = _pictures(read)
        inputs[sound] = _sound(read)
        for name, spec in streams.items():
            if isinstance(spec, TextSpec):
                inputs[name] = _words(read, bundle, name, spec)
        return ReadClip(inputs, {next(iter(outputs)): np.array(self.clip.labels, np.float32)})


def corpus_source(corpus: Corpus) -> ClipSource:
    """Give the clips of a corpus that have media."""
    splits = {split: [MediaEntry(clip) for clip in corpus.split(split) if clip.has_media] for split in SPLITS}
    return ClipSource(str(corpus.folder), corpus.name, corpus.synthetic is not None, splits)


def _pictures(read: ClipInputs) -> StreamInputs:
    pixels = [crop.pixels for crop in read.crops if crop.pixels is not None]
    return StreamInputs([{"pixels": np.stack(pixels)}] if pixels else [])


def _sound(read: ClipInputs) -> StreamInputs:
    chunks = of_equal_length(read.segments)
    return StreamInputs([{"samples": np.stack([chunk.samples for chunk in batch])} for batch in chunks])


def _words(read: ClipInputs, bundle: Bundle, stream: str, spec: TextSpec) -> StreamInputs:
    tokenizer = WordTokenizer(bundle.tokenizer_file(stream).read_text(encoding="utf-8"), spec.max_tokens)
    feeds = [tokenizer.feeds([text]) for text in _texts(read.words)]
    return StreamInputs(feeds[-1:], feeds[:-1])


def _texts(words: list[Word]) -> list[str]:
    """Give the texts that the runtime encodes while a clip runs: of the first word, of half of them, of all of them."""
    counts = sorted({count for count in (1, len(words) // 2, len(words)) if 0 < count <= len(words)})
    return [" ".join(word.text for word in words[:count]) for count in counts]


# -------------------------------------------------------------------------------------------------------- samples


@dataclass(frozen=True, eq=False)
class SampleEntry:
    """A sample in memory, or one in a file of arrays (.npz) that is read when it is its turn."""

    id: str
    sample: Sample | Path

    def read(self, bundle: Bundle, longest_s: float) -> ReadClip:
        """Hold the sample against the bundle's streams and outputs, and give its feeds; all of it is read."""
        sample = _load_sample(self.sample) if isinstance(self.sample, Path) else self.sample
        streams, outputs = bundle.manifest.streams, bundle.manifest.outputs
        by_place: dict[str, dict[str, Array]] = {}
        for key, value in sample.items():
            place, _, name = key.partition("/")
            by_place.setdefault(place, {})[name] = np.asarray(value)
        if unknown := sorted(set(by_place) - {*streams, _LABEL}):
            raise InputError(f"expected arrays STREAM/INPUT of {', '.join(streams)}, got {unknown[0]!r}")
        inputs = {}
        for name, spec in streams.items():
            try:
                inputs[name] = sample_inputs(spec, by_place[name]) if name in by_place else StreamInputs()
            except ValueError as error:
                raise InputError(f"{name}: {error}") from error
        given = by_place.get(_LABEL, {})
        if unknown := sorted(set(given) - set(outputs)):
            raise InputError(f"expected labels of {', '.join(outputs)}, got {unknown[0]!r}")
        return ReadClip(inputs, {name: _label(name, spec, given.get(name)) for name, spec in outputs.items()})


def samples_source(
    samples: Iterable[Sample], name: str = "samples", *, held_out: Iterable[Sample] = (), synthetic: bool = False
) -> ClipSource:
    """Give samples in memory as the clips of a calibration.

    Args:
        samples: give ranges.
        name: what reports call them.
        held_out: judge the result; without any, a quarter of `samples` does.
        synthetic: whether they are synthetic.

    Example:
        >>> source = samples_source([{"imu/values": np.zeros(6, np.float32)}], "bench")
        >>> [entry.id for entry in source.splits["train"]]
        ['0']
    """
    splits = {
        "train": [SampleEntry(str(number), sample) for number, sample in enumerate(samples)],
        "valid": [],
        "test": [SampleEntry(f"held-out-{number}", sample) for number, sample in enumerate(held_out)],
    }
    return ClipSource(name, name, synthetic, splits)


def sample_files_source(folder: Path) -> ClipSource | None:
    """Give the samples of a folder: one `.npz` each, in `train/`, `valid/` and `test/` or all in the folder itself.

    Returns:
        None where there is no such file.
    """
    splits = {split: _entries(folder / split) for split in SPLITS}
    splits["train"] = [*splits["train"], *_entries(folder)]
    if not any(splits.values()):
        return None
    return ClipSource(str(folder), folder.name, (folder / "synthetic.json").is_file(), splits)


def _entries(folder: Path) -> list[SampleEntry]:
    return [SampleEntry(file.stem, file) for file in sorted(folder.glob("*.npz"))]


def _load_sample(file: Path) -> Sample:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: expected arrays (.npz): {error}") from error


def _label(name: str, spec: OutputSpec, given: Array | None) -> Array:
    """A label as float32: the number of a class that excludes others, (), else a number for each name, (n,)."""
    shape = () if isinstance(spec, ClassesSpec) and spec.exclusive else (spec.size,)
    if given is None:
        return np.full(shape, np.nan, np.float32)
    if given.size != int(np.prod(shape)):
        raise InputError(f"expected label/{name} of shape {shape}, got {given.shape}")
    label: Array = given.astype(np.float32).reshape(shape)
    return label


def require_source(data: Corpus | ClipSource | Sequence[Sample]) -> ClipSource:
    """Give the clips of a corpus, or samples as clips.

    Raises:
        CalibrationError: there are none.
    """
    if isinstance(data, Corpus):
        source = corpus_source(data)
    else:
        source = data if isinstance(data, ClipSource) else samples_source(data)
    if not any(source.splits.values()):
        raise CalibrationError(
            f"{source.place}: expected clips or samples to calibrate on, got none; the samples that are frozen in a "
            f"bundle's golden feeds are too few to find ranges on"
        )
    return source
