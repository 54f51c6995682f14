"""What is said on the channels of a run, read back from a file by the libraries of others."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("foxglove", reason="recordings are written with foxglove-sdk")
pytest.importorskip("mcap", reason="recordings are read with mcap")

import av
import foxglove
import msgspec

from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.load import LoadEvent
from taemi_edge.live.outputs.channels.described_run import DescribedRun
from taemi_edge.live.outputs.channels.picture_encoding import PictureSettings
from taemi_edge.live.outputs.channels.run_channels import RunChannels
from taemi_edge.media.colours import rgb_pixels
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.window import Source
from tests.live.outputs.recordings import START_NS, Read, described, manifest_of, ns_of, picture, read, result_of
from tests.live.specs import CAMERA, MICROPHONE, SERIES, WORDS

FACES = msgspec.structs.replace(CAMERA, crop="face")
CENTRE = msgspec.structs.replace(CAMERA, crop="centre")


def recorded(tmp_path: Path, run: DescribedRun, say: Any, settings: PictureSettings | None = None) -> Read:
    """What is in the file when `say` has said something on the channels of a run."""
    context, file = foxglove.Context(), tmp_path / "run.mcap"
    channels = RunChannels(run, settings or PictureSettings(), context)
    with foxglove.open_mcap(file, context=context) as writer:
        writer.write_metadata("taemi-edge", run.metadata(lossless=False))
        say(channels)
    return read(file)


def hop_of_all(end_s: float = 0.5) -> Hop:
    return Hop(
        end_s,
        {
            "eye": [Frame(end_s - 0.4, picture(0)), Frame(end_s - 0.2, picture(1))],
            "ear": [SoundPiece(end_s - 0.5, np.linspace(-1.2, 1, 8000, dtype=np.float32))],
            "wrist": [Values(np.array([end_s - 0.3, end_s - 0.1]), np.array([[0.1] * 6, [1 / 3] * 6], np.float32))],
            "talk": [Word(end_s - 0.4, end_s - 0.3, "Straße")],
        },
        faults={"wrist": "NaN in its values"},
        losses={"ear": "digital silence"},
        frames_share=0.5,
    )


def test_every_kind_of_stream_is_said_with_its_schema_and_its_time(tmp_path):
    manifest = manifest_of(eye=CAMERA, ear=MICROPHONE, wrist=SERIES, talk=WORDS)
    result = result_of(manifest, hop_of_all())
    read_back = recorded(tmp_path, described(manifest, Source("door")), lambda channels: channels.say_hop(0, result))
    assert read_back.topics == {
        "/door/inputs/eye": "foxglove.CompressedVideo",
        "/door/inputs/ear": "foxglove.RawAudio",
        "/door/inputs/wrist": "taemi_edge.Row",
        "/door/inputs/talk": "taemi_edge.Words",
        "/door/hop": "taemi_edge.Hop",
        "/door/prediction": "taemi_edge.Prediction",
        "/door/outputs/mood": "taemi_edge.Outputs",
        "/door/outputs/state": "taemi_edge.Outputs",
        "/door/presence": "taemi_edge.Presence",
        "/door/latency": "taemi_edge.Latency",
    }
    sound = read_back.of("/door/inputs/ear")[0]
    assert (sound.format, sound.sample_rate, sound.number_of_channels) == ("pcm-s16", 16_000, 1)
    assert np.frombuffer(sound.data, "<i2")[[0, -1]].tolist() == [-32_767, 32_767]
    rows = [row["values"] for row in read_back.of("/door/inputs/wrist")]
    assert np.array_equal(np.array(rows, np.float32), np.array([[0.1] * 6, [1 / 3] * 6], np.float32))
    assert read_back.of("/door/inputs/talk")[0]["text"] == "Straße"
    assert read_back.of("/door/prediction") == [json.loads(result.prediction.to_json())]
    assert [said["values"] for said in read_back.of("/door/outputs/mood")] == [[0.25, 0.5]]
    assert read_back.of("/door/outputs/state")[0]["best"] == "shut"
    assert read_back.of("/door/latency")[0]["ms"] == {"eye": 1.0, "ear": 1.0, "wrist": 1.0, "talk": 1.0, "total": 2.0}
    presence = read_back.of("/door/presence")[0]
    assert (presence["state"]["eye"], presence["code"]["eye"]) == ("live", 3)
    for said in read_back.said:
        if said.topic.startswith("/door/inputs"):
            stamp = ns_of(said.message["timestamp"] if isinstance(said.message, dict) else said.message.timestamp)
            assert 0 <= said.log_ns - stamp < 100
            assert 0 <= stamp - START_NS <= 500_000_000
    [eye] = {tuple(said.metadata.items()) for said in read_back.said if said.topic == "/door/inputs/eye"}
    assert dict(eye) == {"taemi_edge.source": "door", "taemi_edge.stream": "eye", "taemi_edge.kind": "video"}


def test_a_hop_says_how_to_make_it_again(tmp_path):
    manifest = manifest_of(eye=CAMERA, ear=MICROPHONE, wrist=SERIES, talk=WORDS)
    hop = hop_of_all(0.1 + 0.2)
    run = described(manifest, Source("door"))
    read_back = recorded(tmp_path, run, lambda channels: channels.say_hop(0, result_of(manifest, hop)))
    [said] = read_back.of("/door/hop")
    assert said["time_s"] == hop.end_s
    assert said["pieces"]["eye"] == [frame.time_s for frame in hop.pieces["eye"]]
    assert said["pieces"]["ear"] == [hop.pieces["ear"][0].time_s]
    assert (said["pieces"]["wrist"], said["pieces"]["talk"]) == ([2], [1])
    assert (said["faults"], said["losses"], said["frames_share"]) == (hop.faults, hop.losses, 0.5)
    order = [said.topic for said in read_back.said]
    last_input = max(index for index, topic in enumerate(order) if "/inputs/" in topic)
    assert last_input < order.index("/door/hop") < order.index("/door/prediction")


def test_log_times_rise_although_pieces_come_late(tmp_path):
    manifest = manifest_of(wrist=SERIES, talk=WORDS)

    def say(channels: RunChannels) -> None:
        for index, late_s in enumerate((0.0, 0.9, 0.0)):
            end_s = 0.5 * (index + 1)
            rows = Values(np.array([end_s - late_s - 0.2] * 3), np.ones((3, 6), np.float32))
            word = Word(end_s - 0.1, end_s + 0.3, "ahead")
            channels.say_hop(0, result_of(manifest, Hop(end_s, {"wrist": [rows], "talk": [word]})))
            channels.say_hop(1, result_of(manifest, Hop(end_s), "desk"))

    read_back = recorded(tmp_path, described(manifest, Source("door"), Source("desk")), say)
    for source in ("/door/", "/desk/"):
        times = [said.log_ns for said in read_back.said if said.topic.startswith(source)]
        assert all(later > earlier for earlier, later in pairwise(times))
    assert [row["time_s"] for row in read_back.of("/door/inputs/wrist")][3] == pytest.approx(-0.1)


@pytest.mark.parametrize("size_hw", [(48, 64), (47, 33), (16, 16)])
def test_video_can_be_decoded_from_every_key_picture_on(tmp_path, size_hw):
    manifest = manifest_of(eye=CAMERA)

    def say(channels: RunChannels) -> None:
        for index in range(12):
            if index == 7:
                channels.want_keys("/door/inputs/eye")
            frame = Frame(index / 2, picture(index, size_hw))
            channels.say_hop(0, result_of(manifest, Hop(index / 2, {"eye": [frame]})))

    videos = recorded(tmp_path, described(manifest, Source("door")), say).of("/door/inputs/eye")
    assert {video.format for video in videos} == {"h264"}
    even_wh = size_hw[1] // 2 * 2, size_hw[0] // 2 * 2
    for start in (0, 4, 7, 11):  # the first one, the one that was asked for, and two seconds after each
        decoder: Any = av.CodecContext.create("h264", "r")
        pictures = [p for video in videos[start:] for p in decoder.decode(av.Packet(video.data))]
        pictures += decoder.decode(None)
        assert len(pictures) == 12 - start
        assert (pictures[0].width, pictures[0].height) == even_wh
        wanted = picture(start, size_hw)[: even_wh[1], : even_wh[0]]
        assert np.abs(rgb_pixels(pictures[0]).astype(int) - wanted).mean() < 6


def test_a_picture_of_another_size_begins_the_video_anew(tmp_path):
    manifest = manifest_of(eye=CAMERA)

    def say(channels: RunChannels) -> None:
        for index, size_hw in enumerate([(48, 64), (48, 64), (96, 32), (48, 64)]):
            frame = Frame(index / 4, picture(index, size_hw))
            channels.say_hop(0, result_of(manifest, Hop(index / 4, {"eye": [frame]})))

    videos = recorded(tmp_path, described(manifest, Source("door")), say).of("/door/inputs/eye")
    decoder: Any = av.CodecContext.create("h264", "r")
    pictures = [p for video in videos for p in decoder.decode(av.Packet(video.data))] + decoder.decode(None)
    assert [(p.width, p.height) for p in pictures] == [(64, 48), (64, 48), (32, 96), (64, 48)]


@pytest.mark.parametrize(
    ("settings", "form", "most_off"),
    [
        (PictureSettings("jpeg", 95), "jpeg", 4.0),
        (PictureSettings(lossless=True), "png", 0.0),
    ],
)
def test_pictures_by_themselves(tmp_path, settings, form, most_off):
    manifest = manifest_of(eye=CAMERA, ear=MICROPHONE)
    sound = np.array([0.1, -1 / 3, 1.0], np.float32)
    hop = Hop(0.5, {"eye": [Frame(0.1, picture(3))], "ear": [SoundPiece(0.25, sound)]})
    run = described(manifest, Source("door"))
    read_back = recorded(tmp_path, run, lambda channels: channels.say_hop(0, result_of(manifest, hop)), settings)
    [image] = read_back.of("/door/inputs/eye")
    assert (image.format, image.frame_id) == (form, "eye")
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(pixels.astype(int) - picture(3)).mean() <= most_off
    if settings.lossless:
        [heard] = read_back.of("/door/inputs/ear")
        assert heard.format == "pcm-f32"
        assert np.array_equal(np.frombuffer(heard.data, "<f4"), sound)


def test_boxes_of_the_face_and_of_the_centre(tmp_path):
    manifest = manifest_of(face_cam=FACES, middle=CENTRE, whole=CAMERA)
    frames = {name: [Frame(0.2, picture(0, (48, 96)))] for name in manifest.streams}

    def say(channels: RunChannels) -> None:
        found = {"face_cam": Face((30.0, 10.0, 50.0, 30.0), 0.93)}
        channels.say_hop(0, result_of(manifest, Hop(0.5, frames), faces=found))
        channels.say_hop(0, result_of(manifest, Hop(1.0, frames)))
        channels.say_hop(0, result_of(manifest, Hop(1.5, {})))

    read_back = recorded(tmp_path, described(manifest, Source("door")), say)
    assert [topic for topic in read_back.topics if "/boxes/" in topic] == ["/door/boxes/face_cam", "/door/boxes/middle"]
    seen, gone = read_back.of("/door/boxes/face_cam")
    corners = [[(point.x, point.y) for point in line.points] for line in seen.points]
    assert corners[1] == [(30, 10), (50, 10), (50, 30), (30, 30)]
    assert [text.text for text in seen.texts] == ["93%"]
    assert not gone.points  # the box of a face that left the picture goes away
    assert ns_of(seen.timestamp) == START_NS + 200_000_000
    [centre, _] = read_back.of("/door/boxes/middle")
    assert [(p.x, p.y) for p in centre.points[0].points] == [(24, 0), (72, 0), (72, 48), (24, 48)]


def test_words_of_a_transcript_are_said_when_they_end(tmp_path):
    manifest = manifest_of(talk=WORDS)
    words = [Word(1.2, 1.4, "there"), Word(0.1, 0.5, "so"), Word(0.5, 0.51, "it")]
    run = described(manifest, Source("door", {"talk": words}), live=False)

    def say(channels: RunChannels) -> None:
        for index in range(1, 4):
            channels.say_hop(0, result_of(manifest, Hop(index / 2)))

    read_back = recorded(tmp_path, run, say)
    assert [word["text"] for word in read_back.of("/door/inputs/talk")] == ["so", "it", "there"]
    assert [hop["pieces"]["talk"] for hop in read_back.of("/door/hop")] == [[1], [1], [1]]
    [source] = json.loads(read_back.metadata["sources"])
    assert (source["known_words"], source["topic"]) == (["talk"], "door")


def test_times_that_no_stamp_can_say_and_words_that_no_json_can(tmp_path):
    manifest = manifest_of(wrist=SERIES, talk=WORDS)
    run = dataclasses.replace(described(manifest, Source("door")), start_ns=1_000_000_000)
    rows = Values(np.array([-3.0, 5e9]), np.ones((2, 6), np.float32))
    hop = Hop(0.5, {"wrist": [rows], "talk": [Word(0.0, 0.1, "half \udc80 a sign")]})
    read_back = recorded(tmp_path, run, lambda channels: channels.say_hop(0, result_of(manifest, hop)))
    stamps = [row["timestamp"]["sec"] for row in read_back.of("/door/inputs/wrist")]
    assert stamps == [0, 2**32 - 1]
    assert read_back.said[-1].log_ns < 1_600_000_000  # what lies ahead moves nothing that comes after it
    assert [row["time_s"] for row in read_back.of("/door/inputs/wrist")] == [-3.0, 5e9]
    assert read_back.of("/door/inputs/talk")[0]["text"] == "half ? a sign"


def test_without_a_prediction_there_are_no_numbers_and_reasons(tmp_path):
    manifest = manifest_of(wrist=SERIES)
    run = described(manifest, Source("door"))
    read_back = recorded(
        tmp_path, run, lambda channels: channels.say_hop(0, result_of(manifest, Hop(0.5), missing=True))
    )
    assert "/door/outputs/mood" not in read_back.topics
    [presence] = read_back.of("/door/presence")
    assert (presence["state"], presence["age_ms"]) == ({"wrist": "missing"}, {})
    assert presence["reason"] == {"wrist": "nothing came"}


def test_events_between_hops_are_said_at_once(tmp_path):
    manifest = manifest_of(wrist=SERIES, ear=MICROPHONE)

    def say(channels: RunChannels) -> None:
        channels.say_hop(0, result_of(manifest, Hop(0.5)))
        lost = {"before": "live", "after": "missing", "reason": "its publisher is gone"}
        channels.say_event(0, PresenceEvent(source="door", time_s=0.7, stream="wrist", **lost))
        channels.say_load(LoadEvent(time_s=0.8, degraded=True, frames_share=0.5, hop_s=0.5, reason="too slow"))
        channels.say_model(ModelEvent(time_s=0.9, before="a", after="b", taken_up=True, missed=0, reason=None))

    read_back = recorded(tmp_path, described(manifest, Source("door")), say)
    after = read_back.of("/door/presence")[-1]
    assert (after["time_s"], after["state"]) == (0.7, {"wrist": "missing", "ear": "live"})
    assert (after["reason"], after["age_ms"]) == ({"wrist": "its publisher is gone"}, {"ear": 20.0})
    lines = read_back.of("/events")
    assert [line.level for line in lines] == [3, 3, 2]
    assert lines[0].message == "door wrist live -> missing: its publisher is gone"
    assert (read_back.of("/load")[0]["degraded"], read_back.of("/model")[0]["to"]) == (True, "b")


def test_sources_of_names_that_no_topic_may_have(tmp_path):
    manifest = manifest_of(wrist=SERIES)
    names = ["talk show.mp4", "talk-show.mp4", "talk show.mp4", "events", "日"]
    run = described(manifest, *map(Source, names))

    def say(channels: RunChannels) -> None:
        for index, name in enumerate(names):
            channels.say_hop(index, result_of(manifest, Hop(0.5), name))

    read_back = recorded(tmp_path, run, say)
    levels = [source["topic"] for source in json.loads(read_back.metadata["sources"])]
    assert levels == ["talk_show_mp4", "talk_show_mp4_2", "talk_show_mp4_3", "events_2", "_"]
    for level, name in zip(levels, names, strict=True):
        [said] = [said for said in read_back.said if said.topic == f"/{level}/prediction"]
        assert (said.message["source"], said.metadata["taemi_edge.source"]) == (name, name)


def test_what_cannot_be_encoded_costs_that_picture_alone(tmp_path, caplog):
    manifest = manifest_of(eye=CAMERA)

    def no_pixels(**_: object) -> None:
        raise ValueError("no pixels")

    broken = SimpleNamespace(format=SimpleNamespace(name="gone"), width=4, height=4, to_ndarray=no_pixels)
    frames = [Frame(0.1, picture(0)), Frame(0.2, broken), Frame(0.3, picture(1))]

    def say(channels: RunChannels) -> None:
        channels.say_hop(0, result_of(manifest, Hop(0.5, {"eye": frames})))

    read_back = recorded(tmp_path, described(manifest, Source("door")), say)
    assert len(read_back.of("/door/inputs/eye")) == 2
    assert read_back.of("/door/hop")[0]["pieces"]["eye"] == [0.1, 0.3]
    assert "a picture of eye is not shown or recorded" in caplog.text


def test_what_nobody_reads_is_not_encoded(monkeypatch):
    manifest = manifest_of(eye=CAMERA)
    channels = RunChannels(described(manifest, Source("door")), PictureSettings(), foxglove.Context())
    monkeypatch.setattr("taemi_edge.live.outputs.channels.picture_encoding.VideoEncoder.encode", None)
    channels.say_hop(0, result_of(manifest, Hop(0.5, {"eye": []})))
    monkeypatch.undo()
    channels.say_hop(0, result_of(manifest, Hop(0.5, {"eye": [Frame(0.1, picture(0))]})))
    monkeypatch.setattr("taemi_edge.live.outputs.channels.picture_encoding.VideoEncoder.encode", None)
    channels.say_hop(0, result_of(manifest, Hop(1.0, {"eye": [Frame(0.6, picture(0))]})))
