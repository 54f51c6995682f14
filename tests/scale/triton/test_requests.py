"""What a request holds, and what is refused of it, without a server."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.outputs import RegressionSpec
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.media.hops import Frame, SoundPiece
from taemi_edge.media.transcripts import Word
from taemi_edge.scale.triton.requests import LEFT_OUT, RequestReader, input_specs
from taemi_edge.scale.triton.tensors import output_specs

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS: dict[str, StreamSpec] = {
    "door": VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(4, 6), frames_per_second=4.0),
    "face_cam": VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=4.0, crop="face"),
    "mic": AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=100, chunk_s=0.5),
    "said": TextSpec(feature_dim=4, presence=PRESENCE, max_tokens=8),
    "imu": SeriesSpec(feature_dim=4, presence=PRESENCE, channels=3, rate_hz=20.0, chunk_s=0.5),
}


class _Model:
    """The part of a manifest that names and kinds of tensors depend on."""

    def __init__(self, streams: dict[str, StreamSpec], outputs: dict[str, Any] | None = None) -> None:
        self.streams = streams
        self.outputs = outputs or {"mood": RegressionSpec(names=("calm", "glad"))}


def model(streams: dict[str, StreamSpec] = STREAMS, outputs: dict[str, Any] | None = None) -> Any:
    return _Model(streams, outputs)


def reader() -> RequestReader:
    return RequestReader(model())


def at(end_s: float, **tensors: Array) -> dict[str, Array]:
    return {"end_s": np.array([[end_s]]), **{name: np.asarray(array)[None] for name, array in tensors.items()}}


def spoken(*lines: str) -> Array:
    return np.frombuffer("\n".join(lines).encode("utf-8"), np.uint8)


def test_each_stream_has_the_inputs_of_its_kind():
    shown = {name: (spec.dtype, spec.dims) for name, spec in input_specs(model()).items()}
    assert shown == {
        "end_s": ("FP64", (1,)),
        "door": ("UINT8", (-1, -1, -1, 3)),
        "door_times_s": ("FP64", (-1,)),
        "face_cam": ("UINT8", (-1, -1, -1, 3)),
        "face_cam_crops": ("UINT8", (-1, 8, 8, 3)),
        "face_cam_times_s": ("FP64", (-1,)),
        "mic": ("FP32", (-1,)),
        "mic_time_s": ("FP64", (1,)),
        "said": ("UINT8", (-1,)),
        "imu": ("FP32", (-1, 3)),
        "imu_times_s": ("FP64", (-1,)),
    }


def test_names_that_collide_are_refused():
    streams = {"imu": STREAMS["imu"], "imu_times_s": STREAMS["said"]}
    with pytest.raises(UsageError, match="inputs have different names in Triton, got two 'imu_times_s'"):
        input_specs(model(streams))
    with pytest.raises(UsageError, match="outputs have different names in Triton, got two 'prediction'"):
        output_specs(model(outputs={"prediction": RegressionSpec(names=("x",))}))


def test_what_is_left_out_is_lost_and_what_is_empty_is_not():
    request = reader().read(at(0.5, mic=np.zeros(0, np.float32), said=np.zeros(0, np.uint8)))
    assert request.given == {}
    assert request.losses == dict.fromkeys(("door", "face_cam", "imu"), LEFT_OUT)


def test_data_of_every_kind():
    pictures = np.zeros((2, 5, 7, 3), np.uint8)
    request = reader().read(
        at(
            0.5,
            door=pictures,
            door_times_s=np.array([0.1, 0.2]),
            face_cam_crops=np.ones((1, 8, 8, 3), np.uint8),
            face_cam_times_s=np.array([0.5]),
            mic=np.full(50, 0.25, np.float32),
            mic_time_s=np.array([0.02]),  # its clock is off by a little
            said=spoken(
                '{"start": 0, "end": 0.4, "text": "größer 你好"}', "", '{"end": 0.5, "start": 0.4, "text": " "}'
            ),
            imu=np.zeros((2, 3), np.float32),
            imu_times_s=np.array([0.4, 0.4]),
        )
    )
    door, face = request.given["door"], request.given["face_cam"]
    assert [(f.time_s, f.is_crop) for f in door if isinstance(f, Frame)] == [(0.1, False), (0.2, False)]
    assert [f.is_crop for f in face if isinstance(f, Frame)] == [True]
    assert isinstance(request.given["mic"], SoundPiece)
    assert [w.text for w in request.given["said"] if isinstance(w, Word)] == ["größer", "你好"]
    assert request.spans["door"] == (0.1, 0.2)
    assert request.losses == {}


ROWS = np.zeros((2, 3), np.float32)
PICTURE = np.zeros((1, 5, 7, 3), np.uint8)
SOUND = np.zeros(50, np.float32)
SAID = '{"start": 0.1, "end": 0.2, "text": "so"}'
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "expected the input end_s, which says where the hop ends, found none"),
        (at(np.nan), "end_s: expected a time in seconds, got nan"),
        (at(-np.inf), "end_s: expected a time in seconds, got -inf"),
        (at(1.7e12), "give seconds, not milliseconds"),
        ({"end_s": np.array([0.5])}, r"end_s: expected FP64 \(1, 1\), got FP64 \(1,\)"),
        ({"end_s": np.array([[0.5], [1.0]])}, r"end_s: expected FP64 \(1, 1\), got FP64 \(2, 1\)"),
        ({"end_s": np.array([["now"]])}, "end_s: expected FP64 .*, got <U3"),
        (at(0.5, radar=SOUND), "expected inputs among end_s, door, .*, got 'radar'"),
        (at(0.5, mic=SOUND.astype(np.float64)), r"mic: expected FP32 \(1, n\), got FP64 \(1, 50\)"),
        (at(0.5, mic=SOUND[None]), r"mic: expected FP32 \(1, n\), got FP32 \(1, 1, 50\)"),
        (at(0.5, imu=ROWS[:, :2]), r"imu: expected FP32 \(1, n, 3\), got FP32 \(1, 2, 2\)"),
        (at(0.5, face_cam_crops=PICTURE), r"face_cam_crops: expected UINT8 \(1, n, 8, 8, 3\)"),
        (at(0.5, mic=SOUND), "expected the input mic_time_s beside mic, found none"),
        (at(0.5, mic_time_s=np.zeros(1)), "expected mic beside mic_time_s, found none"),
        (at(0.5, mic=SOUND * np.nan, mic_time_s=np.zeros(1)), "mic: expected finite numbers, got NaN or infinity"),
        (at(0.5, mic=SOUND, mic_time_s=np.array([0.1])), "mic: expected what came up to end_s, 0.5 s, got 0.6 s"),
        (at(0.5, mic=SOUND, mic_time_s=np.array([np.nan])), "mic_time_s: expected times in seconds and in order"),
        (at(0.5, imu=ROWS, imu_times_s=np.zeros(3)), "imu_times_s: expected a time for each of 2, got 3"),
        (at(0.5, imu=ROWS, imu_times_s=np.array([0.2, 0.1])), "imu_times_s: expected times in seconds and in order"),
        (at(0.5, imu=ROWS, imu_times_s=np.array([0.2, 0.6])), "imu_times_s: expected what came up to end_s"),
        (at(0.5, imu=ROWS, imu_times_s=np.array([-DAY_S, 0.1])), "by at most a day"),
        (at(0.5, imu=ROWS + np.float32(np.inf), imu_times_s=np.zeros(2)), "imu: expected finite numbers"),
        (at(0.5, door=PICTURE), "expected the input door_times_s beside door, found none"),
        (
            at(0.5, door=PICTURE[:, :0], door_times_s=np.zeros(1)),
            "expected pictures of 1 to 16384 pixels a side, got 0",
        ),
        (
            at(0.5, face_cam=PICTURE, face_cam_crops=np.ones((1, 8, 8, 3), np.uint8)),
            "expected one of face_cam and face_cam_crops, got both",
        ),
        (at(0.5, said=spoken("so it is")), 'said, line 1: expected {"start": s'),
        (at(0.5, said=spoken(SAID, '{"start": 0.1, "end": 0.2}')), "said, line 2: .*missing required field `text`"),
        (at(0.5, said=np.full(4, 255, np.uint8)), "said, line 1: expected .* in UTF-8"),
        (at(0.5, said=spoken(r'{"start": 0, "end": 0, "text": "\ud800"}')), "said, line 1: expected"),
        (at(0.5, said=spoken("[" * 100_000)), "said, line 1: expected"),
        (at(0.5, said=np.full(2 << 20, 10, np.uint8)), "said: expected up to 1,048,576 bytes, got 2,097,152"),
        (at(0.5, said=spoken(SAID.replace("0.2", "0.05"))), "expected start <= end in seconds, got 0.1 and 0.05"),
        (at(0.5, said=spoken(SAID.replace("0.2", "0.7"))), "said, line 1: expected what came up to end_s"),
    ],
)
def test_a_bad_request_is_refused_in_one_sentence(tensors: dict[str, Array], message: str):
    with pytest.raises(UsageError, match=message) as refused:
        reader().read(tensors)
    assert "\n" not in str(refused.value)


def test_a_manifest_will_do(tiny: Bundle):
    manifest: Manifest = msgspec.structs.replace(tiny.manifest)
    assert set(RequestReader(manifest).read(at(0.5)).losses) == set(manifest.streams)
