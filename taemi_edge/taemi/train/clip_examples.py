"""Batches for end-to-end training: clips are read from disk and encoded with gradients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from taemi_edge.bundle.streams import AudioSpec, VideoSpec
from taemi_edge.corpora.clip_reading import ClipInputs, Reading, read_clip
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.media.chunks import MAX_BATCH, kept_steps, of_equal_length
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.network import FusionHead, TaemiModel
from taemi_edge.taemi.train.feature_examples import Batch

#: Decoded clips are kept up to this many; a clip of 7 s at 224 x 224 takes 5 MB.
_KEPT_CLIPS = 256


class ClipExamples:
    """Implements `Examples` on clips: reads a clip as the runtime does, then encodes it with gradients.

    The encoders stay in evaluation mode: their batch statistics, dropout and masking are those of their pretraining.
    """

    def __init__(
        self, clips: Sequence[Clip], vision: VideoSpec, audio: AudioSpec, tokenizer: WordTokenizer, reading: Reading
    ) -> None:
        self._clips = list(clips)
        self._vision, self._audio, self._tokenizer, self._reading = vision, audio, tokenizer, reading
        self._inputs: OrderedDict[str, ClipInputs] = OrderedDict()
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
            "vision": [_encode_crops(model, clip) for clip in inputs],
            "audio": [_encode_segments(model, clip) for clip in inputs],
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
        if clip.id not in self._inputs:
            self._inputs[clip.id] = read_clip(clip, self._vision, self._audio, self._reading)
            if len(self._inputs) > _KEPT_CLIPS:
                self._inputs.popitem(last=False)
        return self._inputs[clip.id]


def _encode_crops(model: TaemiModel, inputs: ClipInputs) -> Tensor:
    seen = [torch.from_numpy(crop.pixels) for crop in inputs.crops if crop.pixels is not None]
    if not seen:
        return torch.zeros(0, model.feature_dims["vision"])
    return torch.cat([model.vision(torch.stack(seen[at : at + MAX_BATCH])) for at in range(0, len(seen), MAX_BATCH)])


def _encode_segments(model: TaemiModel, inputs: ClipInputs) -> Tensor:
    pieces = []
    for batch in of_equal_length(inputs.segments):
        encoded = model.audio(torch.stack([torch.from_numpy(segment.samples) for segment in batch]))
        for segment, steps in zip(batch, encoded, strict=True):
            kept = kept_steps(segment.chunk_samples, len(segment.samples), len(steps))
            pieces.append(steps[-kept:])
    return torch.cat(pieces) if pieces else torch.zeros(0, model.feature_dims["audio"])


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
