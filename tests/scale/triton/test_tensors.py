"""What a prediction is as tensors, and arrays as what Triton's stub takes over."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import numpy as np
import pytest

import taemi_edge as te
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.outputs import ClassesSpec, RegressionSpec
from taemi_edge.scale.triton.tensors import answer_tensors, dlpack_capsule


class _Owner:
    """Takes a capsule over as NumPy's own `from_dlpack` does."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class _Watched(np.ndarray):
    """An array that tells when it is freed."""


def test_a_capsule_is_the_array_and_keeps_it_until_its_owner_is_done():
    array = np.arange(6, dtype=np.float32).reshape(1, 6).view(_Watched)
    freed = weakref.ref(array)
    taken = np.from_dlpack(_Owner(dlpack_capsule(array)))
    del array
    gc.collect()
    assert taken.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    assert freed() is not None
    del taken
    gc.collect()
    assert freed() is None


@pytest.fixture(scope="module")
def prediction(tiny: Bundle) -> te.Prediction:
    with te.load(tiny.folder) as model:
        return model.predict(text="so it is")


class _Model:
    """The part of a manifest that the outputs depend on."""

    def __init__(self, streams: Any, outputs: dict[str, Any]) -> None:
        self.streams, self.outputs = streams, outputs


def test_numbers_are_not_rounded_and_classes_are_probabilities(tiny: Bundle, prediction: te.Prediction):
    classes = ClassesSpec(names=("open", "shut"))
    model: Any = _Model(tiny.manifest.streams, {"mood": RegressionSpec(names=("x", "y")), "state": classes})
    mood, state = np.array([0.1234567, -5e-8], np.float32), np.array([2.0, 0.0], np.float32)
    answer = answer_tensors(model, prediction, {"mood": mood, "state": state})
    np.testing.assert_array_equal(answer["mood"], mood[None])
    assert not np.shares_memory(answer["mood"], mood)
    np.testing.assert_allclose(answer["state"], [[0.880797, 0.119203]], atol=1e-6)
    assert {name: (array.dtype.name, array.shape) for name, array in answer.items() if name != "prediction"} == {
        "mood": ("float32", (1, 2)),
        "state": ("float32", (1, 2)),
        "presence": ("uint8", (1, 3)),
        "age_ms": ("float32", (1, 3)),
    }
    assert json.loads(bytes(answer["prediction"][0])) == json.loads(prediction.to_json())


def test_without_a_prediction_numbers_are_nan(tiny: Bundle, prediction: te.Prediction):
    answer = answer_tensors(tiny.manifest, prediction, None)
    assert np.isnan(answer["intensities"]).all()
    assert np.isnan(answer["age_ms"][0]).tolist() == [True, True, False]
    assert answer["presence"].tolist() == [[2, 2, 0]]
