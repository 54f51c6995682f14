"""Names that something else has are refused, in a declaration and in a manifest."""

from __future__ import annotations

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.names import LATER_PREDICTION_FIELDS, PREDICTION_FIELDS, names_problem
from taemi_edge.runtime.prediction import Prediction


@pytest.mark.parametrize(
    ("streams", "outputs", "words"),
    [
        (["2nd"], ["state"], "stream: expected a name that is a Python identifier, got '2nd'"),
        (["lambda"], ["state"], "Python identifier"),
        (["_imu"], ["state"], "Python identifier"),
        ([3], ["state"], "Python identifier"),
        (["label"], ["state"], "other than fusion.* got 'label'"),
        (["end_s"], ["state"], "got 'end_s'"),
        (["imu"], ["total"], "output: expected a name other than"),
        (["a", "a_mask"], ["state"], "does not end in _mask, got 'a_mask'"),
        (["a" * 65], ["state"], "up to 64 characters, got 65"),
        (["imu", "Imu"], ["state"], "upper and lower case, got 'imu' and 'Imu'"),
        (["fi", "ﬁ"], ["state"], "upper and lower case"),
        (["imu"], ["IMU"], "output: expected names that differ"),
        (["imu"], ["imu"], "'imu', which is a stream"),
        (["imu"], ["window_s"], "'window_s', which predictions use"),
    ],
)
def test_a_name_that_something_else_has_is_refused(streams: list[object], outputs: list[object], words: str):
    with pytest.raises(ValueError, match=words):
        raise ValueError(names_problem(streams, outputs))


def test_other_names_are_free():
    assert names_problem(["vision", "mask", "kamera_ä", "match"], ["state", "mood"]) is None


def test_every_field_of_a_prediction_is_taken():
    assert {*PREDICTION_FIELDS, *LATER_PREDICTION_FIELDS} >= {
        field.name for field in msgspec.structs.fields(Prediction)
    }


def test_a_manifest_is_held_to_the_same_names(tiny: Bundle):
    content = msgspec.to_builtins(tiny.manifest)
    content["streams"]["label"] = content["streams"].pop("text")
    with pytest.raises(msgspec.ValidationError, match="got 'label'"):
        msgspec.convert(content, type(tiny.manifest))
