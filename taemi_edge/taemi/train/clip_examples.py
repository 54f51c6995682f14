"""Batches for end-to-end training: clips are read from disk and encoded with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from taemi_edge.bundle.streams import AudioSpec, VideoSpec
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.corpora.clip_reading import ClipInputs, Reading, read_clip
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.errors import InputError
from taemi_edge.media.chunks import Segment, kept_steps
from taemi_edge.media.opencv import use_one_thread
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.network import FusionHead, TaemiModel
from taemi_edge.taemi.train.feature_examples import Batch

#: Decoded clips are kept up to this many bytes; a clip of 7 s takes 5 MB at 224 x 224 and 0.7 MB at 48 x 48.
_KEPT_BYTES = 1 << 30
#: So many crops are encoded in one call; their gradients need the memory of all of them in any case.
_CROPS_IN_A_CALL = 256


class ClipExamples:
    """Implements `Examples` on clips: reads a clip as the runtime does, then encodes it with gradients.

    The encoders stay in evaluation mode: their batch statistics, dropout and masking are those of their pretraining.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        vision: VideoSpec,
        audio: AudioSpec,
        tokenizer: WordTokenizer,
        reading: Reading,
        kept: KeptClips | None = None,
    ) -> None:
        self._clips = list(clips)
        self._vision, self._audio, self._tokenizer, self._reading = vision, audio, tokenizer, reading
        self._kept = KeptClips() if kept is None else kept
        self._labels = torch.tensor([clip.labels for clip in clips], dtype=torch.float32)

    @property
    def labels(self) -> Tensor:
        return self._labels

    def batch(self, head: FusionHead, chosen: Tensor) -> Batch:
        model = cast("TaemiModel", head)
        for encoder in (model.vision, model.audio, model.text):
            encoder.eval()
        inputs = [self._read(self._clips[int(index)]) for index in chosen]
        sequences = {
            "vision": _encode_crops(model, inputs),
            "audio": _encode_segments(model, inputs),
            "text": _encode_texts(model, self._tokenizer, inputs),
        }
        lengths = {m: torch.tensor([len(s) for s in sequences[m]]) for m in MODALITIES}
        padded: dict[str, Tensor] = {
            m: pad_sequence([_at_least_one(s) for s in sequences[m]], batch_first=True) for m in MODALITIES
        }
        return Batch(
            features=padded,
            masks={m: (torch.arange(padded[m].shape[1]) < lengths[m][:, None]).int() for m in MODALITIES},
            present={m: lengths[m] > 0 for m in MODALITIES},
            labels=self._labels[chosen],
        )

    def _read(self, clip: Clip) -> ClipInputs:
        inputs = self._kept.get(clip.id)
        if inputs is None:
            inputs = read_clip(clip, self._vision, self._audio, self._reading)
            self._kept.add(clip.id, inputs)
        return inputs


class KeptClips:
    """Clips that were read, while there is room for them. The clips of an epoch come in any order, so none makes room.

    Args:
        room: how many bytes of pictures and sound are kept.
    """

    def __init__(self, room: int = _KEPT_BYTES) -> None:
        self._inputs: dict[str, ClipInputs] = {}
        self._room = room

    def get(self, name: str) -> ClipInputs | None:
        return self._inputs.get(name)

    def add(self, name: str, inputs: ClipInputs) -> None:
        size = sum(crop.pixels.nbytes for crop in inputs.crops if crop.pixels is not None)
        size += sum(segment.samples.nbytes for segment in inputs.segments)
        if name not in self._inputs and size <= self._room:
            self._inputs[name] = inputs
            self._room -= size


def open_examples(
    clips: Sequence[Clip],
    vision: VideoSpec,
    audio: AudioSpec,
    tokenizer: WordTokenizer,
    workers: int | WorkerPool = 1,
    progress: Progress = SILENT,
    kept: KeptClips | None = None,
) -> tuple[dict[str, ClipExamples], dict[str, str]]:
    """Read every clip once, in worker processes.

    Args:
        clips: of all splits.
        vision, audio, tokenizer: what the encoders take.
        workers: what reads them.
        progress: counts the clips that are read.
        kept: where they are kept; by default as many as there is room for.

    Returns:
        Examples of the clips that can be read, by split, and why the others cannot, by the id of the clip.
    """
    kept, problems = KeptClips() if kept is None else kept, {}
    task = partial(_read_one, vision, audio)
    for done, (name, found) in enumerate(run_parallel(task, clips, workers, use_one_thread), 1):
        if isinstance(found, str):
            problems[name] = found
        else:
            kept.add(name, found)
        progress.count(done, len(clips), "reading clips")
    splits = dict.fromkeys(clip.split for clip in clips if clip.id not in problems)
    return {
        split: ClipExamples(
            [clip for clip in clips if clip.split == split and clip.id not in problems],
            vision, audio, tokenizer, Reading(), kept,
        )
        for split in splits
    }, {name: problems[name] for name in sorted(problems)}  # fmt: skip


def _read_one(vision: VideoSpec, audio: AudioSpec, clip: Clip) -> tuple[str, ClipInputs | str]:
    try:
        return clip.id, read_clip(clip, vision, audio)
    except InputError as error:
        return clip.id, str(error)


def _encode_crops(model: TaemiModel, inputs: list[ClipInputs]) -> list[Tensor]:
    """The crops of all clips in as few calls as can be; clips without a face get (0, D)."""
    seen = [[torch.from_numpy(crop.pixels) for crop in clip.crops if crop.pixels is not None] for clip in inputs]
    pixels = [crop for crops in seen for crop in crops]
    if not pixels:
        return [torch.zeros(0, model.feature_dims["vision"]) for _ in inputs]
    calls = range(0, len(pixels), _CROPS_IN_A_CALL)
    encoded = torch.cat([model.vision(torch.stack(pixels[at : at + _CROPS_IN_A_CALL])) for at in calls])
    return list(torch.split(encoded, [len(crops) for crops in seen]))


def _encode_segments(model: TaemiModel, inputs: list[ClipInputs]) -> list[Tensor]:
    """The segments of all clips, those of equal length in one call; clips without sound get (0, D)."""
    segments = [segment for clip in inputs for segment in clip.segments]
    by_length: dict[int, list[int]] = {}
    for number, segment in enumerate(segments):
        by_length.setdefault(len(segment.samples), []).append(number)
    steps: dict[int, Tensor] = {}
    for numbers in by_length.values():
        encoded = model.audio(torch.stack([torch.from_numpy(segments[number].samples) for number in numbers]))
        steps |= zip(numbers, encoded, strict=True)
    nothing = torch.zeros(0, model.feature_dims["audio"])
    pieces, first = [], 0
    for clip in inputs:
        own = [_own_steps(segments[first + at], steps[first + at]) for at in range(len(clip.segments))]
        pieces.append(torch.cat(own) if own else nothing)
        first += len(clip.segments)
    return pieces


def _own_steps(segment: Segment, steps: Tensor) -> Tensor:
    """The steps of the chunk itself, without those of its context."""
    return steps[-kept_steps(segment.chunk_samples, len(segment.samples), len(steps)) :]


def _encode_texts(model: TaemiModel, tokenizer: WordTokenizer, inputs: list[ClipInputs]) -> list[Tensor]:
    """All texts in one batch; clips without words get (0, D)."""
    texts = [" ".join(word.text for word in clip.words) for clip in inputs]
    spoken = [text for text in texts if text]
    nothing = torch.zeros(0, model.feature_dims["text"])
    if not spoken:
        return [nothing for _ in texts]
    feeds = {name: torch.from_numpy(values) for name, values in tokenizer.feeds(spoken).items()}
    encoded = iter(zip(model.text(**feeds), feeds["mask"], strict=True))
    return [_unpadded(*next(encoded)) if text else nothing for text in texts]


def _unpadded(states: Tensor, mask: Tensor) -> Tensor:
    return states[: int(mask.sum())]


def _at_least_one(sequence: Tensor) -> Tensor:
    """Padding needs at least one step; the mask of the added step stays 0."""
    return sequence if len(sequence) else sequence.new_zeros(1, sequence.shape[1])
