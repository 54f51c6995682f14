"""Cases from a model's own samples: every kind of stream, heads with and without masks, every presence pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.errors import InputError
from taemi_edge.parity.golden import load_cases, save_cases, usual_case, window_calls, window_cases
from taemi_edge.parity.sample_cases import make_cases
from taemi_edge.parity.windows import head_feeds, window_features
from tests.parity.toy_model import SPECS, STREAMS, TOKENS, ToyModel, sample, without_masks


def cases_of(samples, specs=SPECS):
    return make_cases(specs, {}, ToyModel().run, TOKENS, samples)


def feeds_by_name(cases, part: str):
    return {case.name: case.feeds for case in cases if case.part == part}


def test_every_window_is_what_the_encoders_give_for_its_calls():
    cases = cases_of([sample(0), sample(1, steps=5)])
    assert {case.name for case in window_cases(cases)} == {"window", "window 2"}
    for name in ("window", "window 2"):
        features = window_features(ToyModel().run, window_calls(cases, name, STREAMS), STREAMS)
        live = feeds_by_name(cases, "fusion")[name]
        for key, value in head_feeds(features, masks=True).items():
            np.testing.assert_array_equal(live[key], value)
    # three chunks of sound make 12 steps: those of their context are cut away
    assert feeds_by_name(cases, "fusion")["window"]["mic"].shape == (1, 12, 4)
    assert feeds_by_name(cases, "mic")["window, call 2"]["samples"].shape == (2, 8)


def test_corners_of_batch_and_length_come_from_the_samples():
    cases = cases_of([sample(0), sample(1, steps=5), sample(2, steps=1)])
    mic = feeds_by_name(cases, "mic")
    assert (mic["one row"]["samples"].shape, mic["largest batch"]["samples"].shape) == ((1, 8), (6, 8))
    said = feeds_by_name(cases, "said")
    assert said["largest batch"]["mask"].sum(1).tolist() == [3, 5, 1]
    fusion = feeds_by_name(cases, "fusion")
    # the corners equal the windows of the shortest and the longest sample
    assert "shortest" not in fusion
    assert [fusion[n]["pulse"].shape[1] for n in ("window", "window 2", "window 3")] == [3, 5, 1]
    assert fusion["padded batch"]["pulse_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5, [1, 0, 0, 0, 0]]


def test_the_head_is_recorded_in_every_pattern_with_the_stand_ins_bound():
    cases = [case for case in cases_of([sample(0)]) if case.name == "window" and case.part == "fusion"]
    assert [case.pattern for case in cases] == list(SPECS.patterns)
    assert len(cases) == 32
    assert len({case.expected["mood"].tobytes() for case in cases}) == 32


def test_equal_lengths_are_made_ragged_so_that_masks_count():
    padded = feeds_by_name(cases_of([sample(0), sample(1)]), "fusion")["padded batch"]
    assert padded["imu_mask"].sum(1).tolist() == [6, 12]
    assert padded["pulse_mask"].sum(1).tolist() == [2, 3]


def test_rows_that_lack_different_streams_share_a_batch():
    samples = [sample(0), sample(1, without=("imu",)), sample(2, without=("pulse", "said"))]
    mixed = feeds_by_name(cases_of(samples), "fusion")["streams missing by row"]
    assert mixed["imu_mask"].sum(1).tolist() == [0, 12]  # what stands for imu is hidden by its mask
    assert mixed["pulse_mask"].sum(1).tolist() == [3, 2]  # what stands for pulse has two steps and is seen


def test_a_head_without_masks_gets_batches_of_equal_lengths_and_no_masks():
    cases = cases_of([sample(0), sample(1, steps=5)], without_masks(SPECS))
    fusion = feeds_by_name(cases, "fusion")
    assert set(fusion["batch"]) == set(STREAMS)
    assert fusion["batch"]["pulse"].shape == (2, 3, 4)
    assert not any(name.endswith("_mask") for feeds in fusion.values() for name in feeds)


def test_one_row_of_every_part_is_its_usual_case():
    cases = cases_of([sample(0), sample(1, steps=5)])
    assert {part: usual_case(cases, part).name for part in (*STREAMS, "fusion")} == {
        "front": "one row",
        "mic": "window",
        "said": "window",
        "imu": "one row",
        "pulse": "one row",
        "fusion": "window",
    }


def test_a_window_is_put_together_where_no_sample_is_complete():
    first, second = sample(0, without=("imu",)), sample(1, without=("mic",))
    cases = cases_of([first, second])
    assert {case.name for case in window_cases(cases)} == {"window"}
    np.testing.assert_array_equal(
        window_calls(cases, "window", STREAMS)["imu"][0]["values"][0], second["imu/values"][:4]
    )


def test_a_stream_that_only_a_late_sample_has_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("taemi_edge.parity.sample_cases.MOST_SAMPLES", 2)
    early = [{name: value for name, value in sample(i).items() if not name.startswith("mic/")} for i in range(4)]
    cases = cases_of([*early, sample(4), sample(5)])
    assert feeds_by_name(cases, "mic")
    assert len(window_cases(cases)) == len(SPECS.patterns)  # of the first sample that has every stream


def test_cases_survive_their_file_with_their_patterns(tmp_path: Path):
    cases = cases_of([sample(0), sample(1)])
    save_cases(cases, tmp_path / "golden.npz")
    again = load_cases(tmp_path / "golden.npz")
    assert [(c.part, c.title, c.pattern) for c in again] == [(c.part, c.title, c.pattern) for c in cases]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "expected at least one sample"),
        ([sample(0, without=("imu",))], "expected at least one sample with imu, found none, or less"),
        ([sample(0), {"gps/values": np.ones(3)}], r"samples\[1\]: expected names among .*, got 'gps/values'"),
    ],
)
def test_samples_that_cannot_be_used_are_one_sentence(samples, message: str):
    with pytest.raises(InputError, match=message):
        cases_of(samples)
