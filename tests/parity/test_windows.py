"""Windows and batches for the head: padding is masked, and a head without masks is never padded."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.parity.windows import batch_with_stand_ins, growing_rows, joined_steps, padded_batch
from tests.parity.toy_model import DIM, STREAMS, TOKENS, features_of


def test_steps_of_the_context_are_cut_away():
    encoded = np.arange(2 * 8 * DIM, dtype=np.float32).reshape(2, 8, DIM)
    kept = joined_steps(STREAMS["mic"], {"samples": np.zeros((2, 8))}, encoded)
    np.testing.assert_array_equal(kept, np.concatenate([encoded[0, 4:], encoded[1, 4:]]))
    whole = joined_steps(STREAMS["mic"], {"samples": np.zeros((2, 4))}, encoded[:, :4])
    assert whole.shape == (8, DIM)


def test_a_vector_is_one_step():
    assert joined_steps(STREAMS["front"], {"pixels": np.zeros((3, 2, 2, 3, 3))}, np.zeros((3, DIM))).shape == (3, DIM)


def test_a_head_without_masks_is_never_padded():
    with pytest.raises(ValueError, match="takes rows of equal lengths, got"):
        padded_batch([features_of(1), features_of(2)], masks=False)
    assert set(padded_batch([features_of(2), features_of(2)], masks=False)) == set(STREAMS)


def test_rows_grow_to_half_of_the_whole():
    assert [len(row["mic"]) for row in growing_rows(features_of(16), 4)] == [2, 4, 6, 8]


def test_the_mask_hides_only_stand_ins_of_its_kind():
    windows = [features_of(3), {n: v for n, v in features_of(3).items() if n not in ("imu", "mic")}]
    feeds = batch_with_stand_ins(windows, TOKENS, STREAMS)
    assert feeds["imu_mask"].sum(1).tolist() == [3, 0]
    assert feeds["mic_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    np.testing.assert_array_equal(feeds["mic"][1, 0], TOKENS["mic"][0])
