"""Golden feeds: their file keeps all of them, and stand-ins are bound as the runtime binds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.errors import BundleError
from taemi_edge.parity.golden import Case, bind_tokens, load_cases, save_cases, streams_in, usual_case, window_calls
from taemi_edge.parity.windows import head_feeds
from tests.parity.toy_model import DIM, STREAMS, TOKENS, features_of


def test_golden_cases_survive_their_file(tiny_folder: Path, tmp_path: Path):
    cases = load_cases(tiny_folder / "golden.npz")
    save_cases(cases, tmp_path / "golden.npz")
    again = load_cases(tmp_path / "golden.npz")
    assert [(c.part, c.title) for c in again] == [(c.part, c.title) for c in cases]
    for a, b in zip(cases, again, strict=True):
        assert a.expected is not None
        assert b.expected is not None
        for name in a.expected:
            np.testing.assert_array_equal(a.expected[name], b.expected[name])


def test_a_stand_in_has_its_own_steps_and_mask():
    feeds = head_feeds(features_of(7), masks=True)
    bound = bind_tokens(feeds, frozenset({"mic"}), TOKENS, STREAMS)
    assert {n: bound[n].shape for n in STREAMS} == {
        "front": (1, 1, DIM),
        "mic": (1, 7, DIM),
        "said": (1, 1, DIM),
        "imu": (1, 1, DIM),
        "pulse": (1, 2, DIM),
    }
    assert {n: bound[f"{n}_mask"].max() for n in ("front", "imu", "pulse")} == {"front": 1, "imu": 0, "pulse": 1}
    plain = bind_tokens({n: feeds[n] for n in STREAMS}, frozenset(), TOKENS, STREAMS)
    assert set(plain) == set(STREAMS)


def test_only_a_mask_of_a_stream_is_a_mask():
    assert streams_in({"face_mask": np.zeros(1), "imu": np.zeros(1), "imu_mask": np.zeros(1)}) == ("face_mask", "imu")


def test_what_is_not_there_is_one_sentence(tmp_path: Path):
    case = Case("imu", "largest batch", {"values": np.zeros((2, 3))}, None)
    with pytest.raises(BundleError, match="expected a case of 'imu' with one row"):
        usual_case([case], "imu")
    with pytest.raises(BundleError, match="expected the inputs of 'front' for 'window', found none"):
        window_calls([case], "window", STREAMS)
    (tmp_path / "golden.npz").write_bytes(b"no zip")
    with pytest.raises(BundleError, match="expected golden feeds"):
        load_cases(tmp_path / "golden.npz")
