"""What the streams of a source come from is decided before anything is opened."""

from __future__ import annotations

import sys

import msgspec
import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.named import find_bundle
from taemi_edge.bundle.streams import StreamSpec, TextSpec
from taemi_edge.errors import MediaError, MissingExtraError, UsageError
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.source_plans import describe_source, plan_sources, require_tokenizers
from tests.live.specs import CAMERA, MICROPHONE, SERIES, WORDS

TAEMI: dict[str, StreamSpec] = {"vision": CAMERA, "audio": MICROPHONE, "text": WORDS}
RIG: dict[str, StreamSpec] = {"left": CAMERA, "right": CAMERA, "mic": MICROPHONE, "imu": SERIES, "heart": SERIES}


def test_each_source_has_its_addresses_its_words_and_what_it_will_never_have(demo_vtt):
    sources = (
        SourceConfig(name="door", uri="rtsp://door/1", transcript="unix:/run/door.sock"),
        SourceConfig(name="hall", audio="alsa:default", transcript=str(demo_vtt)),
        SourceConfig(name="yard", video="v4l2:/dev/video7", audio="rtsp://yard/1"),
    )
    config = LiveConfig(source=sources)
    door, hall, yard = plan_sources(config, TAEMI)
    assert [dict(tracks) for _, tracks in door.media] == [{"vision": "video", "audio": "audio"}]
    assert [(address.kind, set(tracks)) for address, tracks in yard.media] == [("v4l2", {"vision"}), ("url", {"audio"})]
    assert [plan.lines for plan in (door, hall, yard)] == [{"text": "unix:/run/door.sock"}, {}, {}]
    assert hall.words["text"]
    assert [set(describe_source(plan, config).absent) for plan in (door, hall, yard)] == [set(), {"vision"}, {"text"}]
    assert yard.absent == {"text": "no transcript was given"}


def test_a_picture_feeds_all_video_streams_but_those_with_a_place_of_their_own():
    streams = {"right": "rtsp://right/1", "imu": "unix:/run/imu.sock"}
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("rig", uri="rtsp://rig/1", streams=streams),)), RIG)
    assert [(address.target, set(tracks)) for address, tracks in plan.media] == [
        ("rtsp://rig/1", {"left", "mic"}),
        ("rtsp://right/1", {"right"}),
    ]
    assert plan.lines == {"imu": "unix:/run/imu.sock"}
    assert plan.absent == {"heart": "no source of heart was given"}


def test_one_camera_for_two_streams_is_connected_once():
    streams = {"left": "rtsp://rig/1", "right": "rtsp://rig/1"}
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("rig", streams=streams),)), RIG)
    assert [set(tracks) for _, tracks in plan.media] == [{"left", "right"}]


def test_speech_is_recognised_for_the_text_streams_that_have_no_transcript():
    streams: dict[str, StreamSpec] = {**TAEMI, "typed": WORDS}
    source = SourceConfig("door", uri="rtsp://door/1", asr=True, streams={"typed": "-"})
    [plan] = plan_sources(LiveConfig(source=(source,)), streams)
    assert (plan.heard, plan.listens_to, plan.lines) == (("text",), "audio", {"typed": "-"})


def test_words_to_come_need_a_tokenizer_that_can_be_read(tiny: Bundle, monkeypatch):
    """Other streams need none, and the recogniser has an extra of its own."""
    text = next(name for name, spec in tiny.manifest.streams.items() if isinstance(spec, TextSpec))
    streams = tiny.manifest.streams
    typed = plan_sources(LiveConfig(source=(SourceConfig("door", streams={text: "-"}),)), streams)
    silent = plan_sources(LiveConfig(source=(SourceConfig("door", uri="rtsp://door/1"),)), streams)
    heard = plan_sources(LiveConfig(source=(SourceConfig("door", uri="rtsp://door/1", asr=True),)), streams)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for plans in (silent, heard):
        require_tokenizers(plans, tiny)
    with pytest.raises(MissingExtraError, match=r"taemi-edge\[text\]"):
        require_tokenizers(typed, tiny)
    require_tokenizers(typed, open_bundle(find_bundle("taemi-nano")))  # its words are read without the library


def test_a_file_is_announced_as_such(demo_video, caplog):
    config = LiveConfig(source=(SourceConfig(name="demo", uri=str(demo_video)),))
    describe_source(plan_sources(config, TAEMI)[0], config)
    assert "is a file: it is played at its own pace, once: --loop plays it again and again" in caplog.text


@pytest.mark.parametrize(
    ("source", "streams", "words"),
    [
        (SourceConfig("a", uri="rtps://door/1"), TAEMI, "expected a file or one of"),
        (SourceConfig("a", streams={"imo": "-"}), RIG, r"expected one of left \(video\).*imu \(series\).*, got 'imo'"),
        (SourceConfig("a", streams={"left": "unix:/x"}), RIG, "since left is video"),
        (
            SourceConfig("a", uri="rtsp://me:secret@door/1"),
            {"imu": SERIES},
            r"rtsp://door/1 to feed .* video or audio",
        ),
        (SourceConfig("a", audio="alsa:default"), {"left": CAMERA}, "kind audio, and none is left"),
        (SourceConfig("a", uri="rtsp://door/1", transcript="-"), RIG, "kind text, and none is left"),
        (SourceConfig("a", uri="rtsp://door/1", asr=True), RIG, "--asr feeds text streams"),
        (
            SourceConfig("a", video="rtsp://door/1", asr=True),
            TAEMI,
            "--asr expects an audio stream at 16000 Hz, got none",
        ),
    ],
    ids=["scheme", "unknown stream", "lines of video", "no media", "no audio", "no text", "asr", "asr without sound"],
)
def test_what_cannot_be_is_one_sentence(source: SourceConfig, streams: dict[str, StreamSpec], words: str):
    with pytest.raises(UsageError, match=words) as refused:
        plan_sources(LiveConfig(source=(source,)), streams)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_found_at_once():
    with pytest.raises(MediaError):
        plan_sources(LiveConfig(source=(SourceConfig(name="a", uri="nothing.mp4"),)), TAEMI)


def test_sensors_have_addresses_of_their_own():
    streams = {
        "imu": "udp://0.0.0.0:9000?format=<6f",
        "heart": "mqtt://me:secret@broker/heart",
        "said": "serial:/dev/ttyUSB0",
    }
    wanted: dict[str, StreamSpec] = {**RIG, "said": WORDS}
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("rig", uri="rtsp://rig/1", streams=streams),)), wanted)
    assert [(address.kind, dict(tracks)) for address, tracks in plan.media] == [
        ("url", {"left": "video", "right": "video", "mic": "audio"}),
        ("datagram", {"imu": "series"}),
        ("mqtt", {"heart": "series"}),
        ("serial", {"said": "text"}),
    ]
    assert "secret" not in repr(plan)


def test_a_source_may_be_a_sensor_where_one_stream_fits_it(monkeypatch):
    monkeypatch.setenv("IMU", "udp://0.0.0.0:9000")
    both: dict[str, StreamSpec] = {"imu": SERIES, "said": WORDS}
    for uri, streams, name in (
        ("mqtt://broker/imu", RIG | {"heart": WORDS}, "imu"),
        ("env:IMU", {"imu": SERIES}, "imu"),
        ("serial:/dev/ttyUSB0", both, "imu"),
        ("serial:/dev/ttyUSB0", {"said": WORDS}, "said"),
    ):
        [plan] = plan_sources(LiveConfig(source=(SourceConfig("a", uri=uri),)), streams)
        assert [set(tracks) for _, tracks in plan.media] == [{name}]
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("a", uri="udp://0.0.0.0:5000"),)), RIG)
    assert [(address.kind, set(tracks)) for address, tracks in plan.media] == [("url", {"left", "right", "mic"})]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SourceConfig("a", uri="mqtt://broker/imu"), "to feed one stream, got imu, heart: write --stream imu=mqtt://"),
        (SourceConfig("a", streams={"imu": "mqtt://me:secret@broker/#"}), "imu=mqtt://broker/...: expected one topic"),
        (SourceConfig("a", streams={"left": "mqtt://broker/x"}), "expected a series or words .* got a stream of video"),
        (SourceConfig("a", streams={"imu": "serial:/dev/ttyUSB0?boud=9600"}), "did you mean baud"),
        (SourceConfig("a", streams={"imu": "rtsp://me:secret@x/1"}), "one of ros:, mqtt:.*, since imu is series"),
        (SourceConfig("a", streams={"imu": "env:NOSUCH_PLACE"}), "env:NOSUCH_PLACE: expected an environment variable"),
        (
            SourceConfig("a", streams={"imu": "udp://:9000?field=a", "heart": "udp://:9000?field=b"}),
            "expected a port of its own for each stream",
        ),
    ],
    ids=["several", "wildcard", "video", "option", "camera", "variable", "one port"],
)
def test_a_sensor_that_cannot_be_is_one_sentence(source: SourceConfig, words: str):
    with pytest.raises(UsageError, match=words) as refused:
        plan_sources(LiveConfig(source=(source,)), RIG)
    assert "secret" not in str(refused.value)


def test_series_are_played_together_as_they_were_recorded(tmp_path):
    (tmp_path / "imu.csv").write_text("time_s,x\n2.0,1\n2.5,2\n")
    (tmp_path / "pulse.csv").write_text("time_s,bpm\n5.0,60\n6.0,61\n")
    wanted: dict[str, StreamSpec] = dict.fromkeys(("imu", "pulse"), msgspec.structs.replace(SERIES, channels=1))
    streams = {name: str(tmp_path / f"{name}.csv") for name in wanted}
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("a", streams=streams),)), wanted)
    assert {name: times_s.tolist() for name, (times_s, _) in plan.series.items()} == {
        "imu": [0.0, 0.5],
        "pulse": [3.0, 4.0],
    }
    wanted["camera"] = CAMERA
    video = tmp_path / "talk.mp4"
    video.touch()
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("a", uri=str(video), streams=streams),)), wanted)
    assert [times_s[0] for times_s, _ in plan.series.values()] == [2.0, 5.0]


def test_a_file_of_series_feeds_the_series_that_it_holds(tmp_path):
    count = SERIES.channels
    columns = ",".join(f"imu.{i}" for i in range(count))
    (tmp_path / "rig.csv").write_text(f"time_s,{columns}\n0,{','.join('1' * count)}\n1,{','.join('2' * count)}\n")
    [plan] = plan_sources(LiveConfig(source=(SourceConfig("rig", uri=str(tmp_path / "rig.csv")),)), RIG)
    assert (set(plan.series), plan.media) == ({"imu"}, ())
    assert plan.absent["heart"] == "no source of heart was given"
    with pytest.raises(UsageError, match="to feed a stream of the kind series, and none is left"):
        plan_sources(LiveConfig(source=(SourceConfig("rig", uri=str(tmp_path / "rig.csv")),)), TAEMI)
