"""Batches for training on stored features: sequences of different lengths are padded to tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from taemi_edge.bundle.values import Array
from taemi_edge.corpora.feature_store import FeatureStore
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.network import FusionHead


@dataclass(frozen=True, eq=False)
class Batch:
    """B clips, padded to the longest clip of each modality."""

    features: dict[str, Tensor]  # (B, T, D)
    masks: dict[str, Tensor]  # int32 (B, T)
    present: dict[str, Tensor]  # bool (B,)
    labels: Tensor  # (B, 6)


class Examples(Protocol):
    """Labelled clips that make batches. `head` is for implementations that must run encoders first."""

    @property
    def labels(self) -> Tensor: ...

    def batch(self, head: FusionHead, chosen: Tensor) -> Batch: ...


@dataclass(frozen=True, eq=False)
class Ragged:
    """N sequences of different lengths, one after the other: `values` (sum of T, D), `starts` and `lengths` (N,)."""

    values: Tensor
    starts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, sequences: Sequence[Array], dim: int) -> Ragged:
        """Join arrays (T, D); `dim` is D where every array is empty."""
        lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long)
        joined = np.concatenate([s for s in sequences if len(s)] or [np.zeros((0, dim), np.float16)])
        return cls(torch.from_numpy(np.ascontiguousarray(joined)), lengths.cumsum(0) - lengths, lengths)

    def padded(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen sequences, float32 (B, T, D), and their mask, int32 (B, T); T is at least 1."""
        lengths = self.lengths[chosen]
        steps = torch.arange(max(1, int(lengths.max())))
        inside = steps < lengths[:, None]
        if not len(self.values):
            return torch.zeros(len(chosen), 1, self.values.shape[1]), inside.int()
        places = (self.starts[chosen, None] + steps).clamp(max=len(self.values) - 1)
        values = self.values[places].float()
        return values * inside.unsqueeze(2), inside.int()

    def take(self, chosen: Tensor) -> Ragged:
        """Some of the sequences, sharing the values."""
        return Ragged(self.values, self.starts[chosen], self.lengths[chosen])

    def emptied(self) -> Ragged:
        """As many sequences, all of length 0."""
        return Ragged(self.values[:0], torch.zeros_like(self.starts), torch.zeros_like(self.lengths))


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Labelled clips as features in memory; implements `Examples`."""

    sequences: dict[str, Ragged]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def feature_dims(self) -> dict[str, int]:
        return {m: ragged.values.shape[1] for m, ragged in self.sequences.items()}

    def batch(self, head: FusionHead, chosen: Tensor) -> Batch:
        del head
        padded = {m: self.sequences[m].padded(chosen) for m in MODALITIES}
        return Batch(
            features={m: values for m, (values, _) in padded.items()},
            masks={m: mask for m, (_, mask) in padded.items()},
            present={m: self.sequences[m].lengths[chosen] > 0 for m in MODALITIES},
            labels=self.labels[chosen],
        )

    def take(self, chosen: Tensor) -> FeatureSet:
        """Some of the clips."""
        return FeatureSet({m: ragged.take(chosen) for m, ragged in self.sequences.items()}, self.labels[chosen])

    def complete(self) -> FeatureSet:
        """The clips that have every modality."""
        whole = torch.stack([self.sequences[m].lengths > 0 for m in MODALITIES]).all(0)
        return self.take(torch.nonzero(whole).flatten())

    def without(self, lost: Collection[str]) -> FeatureSet:
        """All clips without the modalities in `lost`."""
        return replace(self, sequences={m: r.emptied() if m in lost else r for m, r in self.sequences.items()})


def feature_set(store: FeatureStore, split: str) -> FeatureSet:
    """Load a split of a store into memory, as float16.

    Raises:
        StoreError: the store has no clip of that split.
    """
    store.require_split(split)
    clips = sorted(store.read(split), key=lambda clip: clip.id)
    return features_from_arrays(
        {m: [clip.features[m] for clip in clips] for m in MODALITIES},
        np.array([clip.entry.labels for clip in clips], np.float32),
        {m: key.feature_dim for m, key in store.index.encoders.items()},
    )


def features_from_arrays(
    sequences: Mapping[str, Sequence[Array]], labels: Array, feature_dims: Mapping[str, int]
) -> FeatureSet:
    """Make a feature set of N arrays (T, D) for each modality and labels (N, 6).

    Args:
        sequences: the features of each modality.
        labels: intensities in [0, 1].
        feature_dims: the width D of each modality.
    """
    ragged: dict[str, Ragged] = {m: Ragged.of(sequences[m], feature_dims[m]) for m in MODALITIES}
    return FeatureSet(ragged, torch.from_numpy(np.asarray(labels, np.float32)))
