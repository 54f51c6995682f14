"""A declaration that cannot work is refused in one sentence, when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a declared model is made of PyTorch modules")

from torch import Tensor, nn

import taemi_edge as te
from taemi_edge.errors import ContractError


class Head(nn.Module):
    def forward(self, imu: Tensor, imu_mask: Tensor) -> Tensor:
        return imu.mean(1)[:, :2]


class Unmasked(nn.Module):
    def forward(self, imu: Tensor, mic: Tensor) -> Tensor:
        return imu.mean(1)[:, :2] + mic.mean(1)[:, :2]


class Strange(nn.Module):
    def forward(self, imu: Tensor, radar: Tensor) -> Tensor:
        return imu[:, 0, :2]


IMU = te.Stream(te.Series(channels=6), nn.Linear(6, 4))
STATE = te.Classes(["still", "moving"])


def declared(**changes: Any) -> te.Model:
    """A model of one stream, with some of it changed."""
    given: dict[str, Any] = {
        "streams": {"imu": IMU},
        "head": Head(),
        "outputs": {"state": STATE},
        "samples": [{"imu/values": [0.0] * 6, "label/state": 1}],
        "window_s": 1.0,
        "hop_s": 0.5,
    }
    return te.Model(**{**given, **changes})


def test_what_is_declared_can_be_read_back():
    model = declared(tolerances={"fusion": {"max_abs": 1e-4, "cosine": 0.999}})
    assert model.head_takes_masks
    assert model.given_tolerances()["fusion"].max_abs == 1e-4
    assert model.read_samples()[0]["imu/values"].shape == (6,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"streams": {}}, "at least one stream by name"),
        ({"streams": {"2nd": IMU}}, "Python identifier, got '2nd'"),
        ({"streams": {"fusion": IMU}}, "name other than fusion"),
        ({"streams": {"imu_mask": IMU}}, "does not end in _mask"),
        ({"streams": {"imu": 3}}, "expected a Stream, got a int"),
        ({"streams": {"imu": IMU, "mic": IMU}}, "take the stream 'mic'"),
        ({"streams": {"imu": IMU}, "head": Strange()}, "got the argument 'radar', which is no stream"),
        ({"outputs": {"time_s": STATE}}, "another name than 'time_s'"),
        ({"outputs": {}}, "at least one output"),
        ({"window_s": 1e9}, "window_s of up to 3600 seconds"),
        ({"name": 5}, "name and trained_on as words"),
        ({"outputs": {"state": te.Classes(["one"])}}, "at least two classes"),
        ({"outputs": {"state": te.Regression(["a", "a"])}}, "each different"),
        ({"outputs": {"state": te.Regression(["a"], range=(1.0, 0.0))}}, "lowest, highest"),
        (
            {"outputs": {"state": te.Regression(["a"], range=(0.0, float("inf")))}},
            "leave range out where there is no bound",
        ),
        ({"window_s": 0.2}, "0 < hop_s <= window_s"),
        ({"window_s": float("nan")}, "window_s above 0"),
        ({"patterns": [["radar"]]}, "got 'radar'"),
        ({"tolerances": {"radar": {"max_abs": 1.0, "cosine": 0.9}}}, "got 'radar'"),
        ({"tolerances": {"imu": {"max_abs": 1.0}}}, "expected max_abs and cosine"),
        (
            {"tolerances": {"fusion": {"max_abs": 1.0, "cosine": 0.9, "outputs": {"speeed": 1.0}}}},
            "tolerances of fusion: expected outputs state, got 'speeed'",
        ),
        ({"head": "head.onnx"}, "expected an nn.Module or an OnnxFile as head"),
    ],
)
def test_a_mistake_in_the_model_is_one_sentence(changes: dict[str, Any], words: str):
    with pytest.raises(ContractError, match=words) as caught:
        declared(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: te.Video((0, 8), 5.0), r"\(height, width\)"),
        (lambda: te.Video((8, 8), 0), "frames_per_second above 0"),
        (lambda: te.Video((8, 8), 5.0, crop="square"), "'whole', 'face' or 'centre'"),
        (lambda: te.Video((8, 8), 5.0, clip_frames=0), "clip_frames as a whole number"),
        (lambda: te.Audio(16_000, -1.0), "chunk_s above 0"),
        (lambda: te.Audio(True, 1.0), "sample_rate_hz as a whole number"),
        (lambda: te.Text("tokenizer.json", 0), "max_tokens"),
        (lambda: te.Series(0), "channels"),
        (lambda: te.Series(6, rate_hz=50.0), "both above 0, or both 0"),
        (lambda: te.OnnxFile("nowhere.onnx"), "found nothing there"),
        (lambda: te.Stream("video", nn.Identity()), "expected a Video, Audio, Text or Series"),
        (lambda: te.Stream(te.Series(6), 3), "as encoder, got a int"),
        (lambda: te.Stream(te.Series(6), nn.Identity(), missing="nothing"), "'zeros', 'mean' or 'mask', got 'nothing'"),
        (lambda: te.Stream(te.Series(6), nn.Identity(), missing=[np.nan]), "finite numbers"),
        (lambda: te.Stream(te.Series(6), nn.Identity(), missing=np.zeros((1, 2, 3))), "finite numbers"),
        (lambda: te.Stream(te.Series(6), nn.Identity(), min_steps=3, max_steps=2), "max_steps >= min_steps"),
    ],
)
def test_a_mistake_in_a_stream_is_one_sentence(make: Any, words: str):
    with pytest.raises(ContractError, match=words):
        make()


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "at least one sample"),
        ([3], "expected a dict"),
        ([{"imu/pixels": [0.0]}], "got 'imu/pixels'"),
        ([{"label/mood": 1}], "got 'label/mood'"),
        ([{"imu/values": "six"}], "array of numbers"),
        ([{}], "at least one sample with the stream 'imu'"),
    ],
)
def test_a_mistake_in_the_samples_is_one_sentence(samples: list[Any], words: str):
    with pytest.raises(ContractError, match=words):
        declared(samples=samples).read_samples()


def test_a_sample_without_a_required_stream_is_refused():
    required = te.Stream(te.Series(channels=6), nn.Linear(6, 4), required=True)
    with pytest.raises(ContractError, match="sample 1: expected the stream 'imu', which is required"):
        declared(streams={"imu": required}, samples=[{"imu/values": [0.0] * 6}, {}]).read_samples()


def test_a_mask_alone_needs_a_head_with_masks():
    hidden = te.Stream(te.Series(channels=6), nn.Linear(6, 4), missing="mask")
    with pytest.raises(ContractError, match="expected a head with masks for missing='mask'"):
        declared(streams={"imu": hidden, "mic": IMU}, head=Unmasked())


def test_masks_are_all_or_none():
    class Half(nn.Module):
        def forward(self, imu: Tensor, imu_mask: Tensor, mic: Tensor) -> Tensor:
            return imu[:, 0, :2]

    with pytest.raises(ContractError, match="a mask for every stream or for none, got none for 'mic'"):
        declared(streams={"imu": IMU, "mic": IMU}, head=Half())


def test_a_stand_in_may_be_a_tensor_and_is_tiled():
    stream = te.Stream(te.Series(6), nn.Linear(6, 2), missing=nn.Parameter(torch.tensor([1.0, 2.0])), tile=3)
    assert stream.stand_in is not None
    assert stream.stand_in.tolist() == [[1.0, 2.0]] * 3
    assert stream.missing_kind() == "learned"


def test_a_presence_is_a_presence_spec():
    with pytest.raises(ContractError, match="expected presence as a PresenceSpec, got 5"):
        te.Stream(te.Series(channels=6), nn.Linear(6, 4), presence=5)  # type: ignore[arg-type]


def test_no_two_outputs_of_a_file_have_one_name(tmp_path: Path):
    (tmp_path / "head.onnx").write_bytes(b"")
    with pytest.raises(ContractError, match="expected outputs with a name of its own for each"):
        te.OnnxFile(tmp_path / "head.onnx", outputs={"logits": "state", "score": "state"})
