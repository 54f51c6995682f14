"""Batches of stored features: padding, masks, and clips that lack a modality."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="batches are PyTorch tensors")

from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.train.feature_examples import FeatureSet, Ragged, features_from_arrays


@pytest.fixture
def examples() -> FeatureSet:
    arrays = {m: [np.full((length, 4), length, np.float32) for length in (2, 0, 3)] for m in MODALITIES}
    return features_from_arrays(arrays, np.eye(3, 6), dict.fromkeys(MODALITIES, 4))


def test_sequences_are_padded_and_masked():
    ragged = Ragged.of([np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32)], 4)
    values, mask = ragged.padded(torch.tensor([2, 0, 1]))
    assert values.shape == (3, 3, 4)
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert torch.equal(values.sum(2), mask * 4.0)


def test_a_batch_says_which_clips_have_a_modality(examples: FeatureSet):
    batch = examples.batch(None, torch.tensor([0, 1, 2]))
    assert batch.present["audio"].tolist() == [True, False, True]
    assert torch.equal(batch.labels, torch.eye(3, 6))
    assert not examples.without(["audio"]).batch(None, torch.tensor([0])).present["audio"].any()
    assert len(examples.complete()) == 2
