"""Judging by a model's own metric: named or a function, several outputs, rows without labels."""

from __future__ import annotations

import numpy as np
import pytest

from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec
from taemi_edge.errors import UsageError
from taemi_edge.parity.judge import Judge, label_size, split_labels
from taemi_edge.parity.metrics import mean_pearson

EMOTIONS = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")
INTENSITIES = Judge({"intensities": RegressionSpec(names=EMOTIONS)}, "pearson")
DOOR = ClassesSpec(names=("open", "shut", "ajar"))
TAGS = ClassesSpec(names=("wind", "rain"), exclusive=False)
MOOD = RegressionSpec(names=("valence", "arousal"), metrics=("mae",))


def score(predicted: np.ndarray, labels: np.ndarray, **options: int):
    return INTENSITIES.score({"intensities": predicted}, {"intensities": labels}, **options)


def drawn(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random((count, 6))
    return labels + 0.5 * rng.standard_normal(labels.shape), labels


def test_it_is_over_the_whole_split_and_not_a_mean_over_batches():
    predicted, labels = drawn(2)
    order = np.argsort(labels[:, 0])
    batches = [mean_pearson(predicted[order[i : i + 8]], labels[order[i : i + 8]]) for i in range(0, 200, 8)]
    assert score(predicted, labels).value > np.mean(batches) + 0.03


def test_an_undefined_correlation_is_none_and_left_out_of_the_mean():
    predicted, labels = drawn(3)
    predicted[:, 2] = 0.4
    found = score(predicted, labels)
    pearson = found.outputs["intensities"].by_name
    assert pearson["determination"] is None
    assert found.value == pytest.approx(np.mean([v for v in pearson.values() if v is not None]))
    nothing = score(np.full((5, 6), 0.3), labels[:5])
    assert (nothing.value, nothing.interval, nothing.outputs["intensities"].slope) == (None, None, None)
    empty = score(np.zeros((0, 6)), np.zeros((0, 6)))
    assert (empty.value, empty.outputs["intensities"].mse, empty.clips) == (None, None, 0)


def test_the_interval_holds_the_figure_and_narrows_with_more_clips():
    few, many = score(*drawn(4, 60)), score(*drawn(4, 2000))
    for found in (few, many):
        assert found.interval.low < found.value < found.interval.high
    assert many.interval.high - many.interval.low < 0.5 * (few.interval.high - few.interval.low)
    assert score(*drawn(4, 60)) == few  # seeded


def test_the_slope_is_1_where_an_intensity_means_what_it_says():
    _, labels = drawn(5)
    assert score(labels, labels, resamples=0).outputs["intensities"].slope == pytest.approx(1.0)
    assert score(labels * 0.5, labels, resamples=0).outputs["intensities"].slope == pytest.approx(2.0)


def test_rows_without_a_label_do_not_count():
    logits = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    found = Judge({"door": DOOR}, "accuracy").score({"door": logits}, {"door": np.array([[0.0], [0.0], [np.nan]])})
    assert (found.value, found.clips, found.outputs["door"].rows) == (0.5, 3, 2)
    assert found.outputs["door"].by_name == {"open": 0.5, "shut": None, "ajar": None}
    none = Judge({"door": DOOR}, "accuracy").value({"door": logits}, {"door": np.full((3, 1), np.nan)})
    assert none is None


def test_a_metric_counts_for_the_outputs_that_it_fits():
    rng = np.random.default_rng(0)
    raw = {"door": rng.standard_normal((40, 3)), "mood": rng.standard_normal((40, 2))}
    true = {"door": raw["door"].argmax(1)[:, None].astype(float), "mood": raw["mood"] + 0.25}
    by_class = Judge({"door": DOOR, "mood": MOOD}, "macro_f1").score(raw, true, resamples=20)
    assert (by_class.metric, by_class.value) == ("macro_f1", 1.0)
    assert by_class.outputs["mood"].metric == "mae"
    assert by_class.outputs["mood"].value == pytest.approx(0.25)
    by_number = Judge({"door": DOOR, "mood": MOOD}, "ccc").score(raw, true, resamples=0)
    assert by_number.outputs["door"].metric == "accuracy"
    assert by_number.outputs["mood"].others == {"mae": pytest.approx(0.25)}
    only_classes = Judge({"door": DOOR}, "pearson")  # no number to correlate: what is usual for classes
    assert (only_classes.name, only_classes.higher_is_better) == ("accuracy", True)


def test_a_loss_follows_the_direction_of_the_metric():
    assert Judge({"mood": MOOD}, "mae").loss(0.1, 0.3) == pytest.approx(0.2)
    assert Judge({"mood": MOOD}, "pearson").loss(0.9, 0.7) == pytest.approx(0.2)
    assert Judge({"mood": MOOD}, "pearson").loss(None, 0.7) is None


def test_a_users_metric_gets_arrays_for_one_output_and_dicts_for_several():
    seen = []

    def own(predicted, true):
        seen.append((predicted, true))
        return 1.5

    logits, classes = np.array([[2.0, 0, 0], [0, 1, 0]]), np.array([[0.0], [np.nan]])
    assert Judge({"door": DOOR}, own).value({"door": logits}, {"door": classes}) == 1.5
    predicted, true = seen[0]
    assert predicted.shape == (1, 3)
    assert predicted.sum() == pytest.approx(1.0)  # probabilities, of the labelled row alone
    assert (true.tolist(), true.dtype.kind) == ([0], "i")
    both = Judge({"door": DOOR, "mood": MOOD}, own)
    both.value({"door": logits, "mood": logits[:, :2]}, {"door": np.zeros((2, 1)), "mood": np.zeros((2, 2))})
    assert {name: value.shape for name, value in seen[1][0].items()} == {"door": (2, 3), "mood": (2, 2)}
    assert (both.name, both.higher_is_better) == ("own", True)
    own.higher_is_better = False
    assert not both.higher_is_better


def test_a_metric_that_cannot_be_used_is_one_sentence():
    with pytest.raises(UsageError, match=r"expected the metric pearson, .* got 'f2'"):
        Judge({"door": DOOR}, "f2")
    with pytest.raises(UsageError, match="is a function of its maker's, name it"):
        Judge({"door": DOOR}, "own")
    with pytest.raises(UsageError, match="output 'door': expected another metric, 'ccc' is one for regression"):
        Judge({"door": ClassesSpec(names=("a", "b"), metrics=("ccc",))}, "accuracy")

    def broken(predicted, true):
        return predicted["nothing"]

    with pytest.raises(UsageError, match=r"from the metric broken\(predicted, true\), it raised IndexError"):
        Judge({"door": DOOR}, broken).value({"door": np.zeros((2, 3))}, {"door": np.zeros((2, 1))})


def test_labels_lie_side_by_side_in_the_order_of_the_outputs():
    outputs = {"door": DOOR, "tags": TAGS, "mood": MOOD}
    assert [label_size(spec) for spec in outputs.values()] == [1, 2, 2]
    found = split_labels(np.array([[2, 1, 0, 0.5, -0.5]]), outputs)
    assert {name: value.tolist() for name, value in found.items()} == {
        "door": [[2.0]],
        "tags": [[1.0, 0.0]],
        "mood": [[0.5, -0.5]],
    }
