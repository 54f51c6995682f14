"""Addresses are told apart, and shown without secrets."""

from __future__ import annotations

import pytest

from taemi_edge.errors import MediaError, UsageError
from taemi_edge.live.capture.addresses import default_name, looks_live, parse_address, split_name


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("rtsp://me:secret@cam/1", "url", "rtsp://cam/1"),
        ("http://cam/live.m3u8?token=abc&x=1", "url", "http://cam/live.m3u8/..."),
        ("rtsp://me:se@secret@cam:554/1", "url", "rtsp://cam:554/1"),
        ("rtsp://me:secret/0@cam/1", "url", "rtsp://..."),
        ("rtsp://cam:554/stream@2", "url", "rtsp://..."),
        ("rtsp://nvr/Streaming/Channels/101", "url", "rtsp://nvr/Streaming/Channels/101"),
        ("rtsp://me:secret@[fe80::1%eth0]:554/h264", "url", "rtsp://[fe80::1%eth0]:554/h264"),
        ("rtmp://host/live/secret", "url", "rtmp://host/live/..."),
        ("udp://127.0.0.1:5000", "url", "udp://127.0.0.1:5000"),
        ("mqtt://me:secret@broker:1883/robots/imu?field=a", "mqtt", "mqtt://broker:1883/robots/imu"),
        ("mqtts://broker/robots/user=secret", "mqtt", "mqtts://broker/..."),
        ("serial:/dev/serial/by-id/usb-X_1-if00?baud=9600", "serial", "serial:/dev/serial/by-id/usb-X_1-if00"),
        ("ros:/imu/data.linear_acceleration.x?domain=3", "ros", "ros:/imu/data.linear_acceleration.x"),
        ("ros:/camera secret", "ros", "ros:..."),
        ("v4l2:/dev/video7", "v4l2", "v4l2:/dev/video7"),
        ("alsa:hw:1,0", "alsa", "alsa:hw:1,0"),
        ("pulse:default", "gst", "pulse:default"),
        (
            "gst:rtspsrc location=rtsp://a:b@c/1 user-pw=x ! decodebin ! appsink",
            "gst",
            "gst:rtspsrc ...",
        ),
    ],
)
def test_addresses_are_told_apart_and_shown_without_secrets(text: str, kind: str, shown: str):
    address = parse_address(text)
    assert (address.kind, address.shown) == (kind, shown)
    assert looks_live(text)
    assert "secret" not in repr(address)
    assert default_name(text) == shown.replace("1,0", "1_0").replace("%", "_")


def test_what_is_no_address_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"got the scheme 'rtps': did you mean rtsps?\?"):
        parse_address("rtps://cam/1")
    with pytest.raises(UsageError, match="expected something behind rtsp:"):
        parse_address("rtsp://")
    with pytest.raises(UsageError, match=r"^rtsp:\.\.\.: expected two slashes behind rtsp:"):
        parse_address("rtsp:/me:secret@cam/1")
    with pytest.raises(MediaError, match="expected a camera, found no such device"):
        parse_address("/dev/video77")
    with pytest.raises(MediaError, match="found a name that is too long|expected a video or audio file"):
        parse_address("x" * 300)
    with pytest.raises(MediaError, match="expected a video or audio file"):
        parse_address(str(tmp_path / "nothing.mp4"))
    file = tmp_path / "a=b.mp4"
    file.touch()
    assert split_name(str(file)) == (None, str(file))
    assert split_name("door=rtsp://x") == ("door", "rtsp://x")
    assert not looks_live(str(file))


def test_an_address_may_stand_in_an_environment_variable(monkeypatch):
    monkeypatch.setenv("DOOR", "rtsp://me:secret@cam/1")
    assert parse_address("env:DOOR").target == "rtsp://me:secret@cam/1"
    assert default_name("env:DOOR") == parse_address("env:DOOR").shown == "rtsp://cam/1"
    for name in ("NOSUCH", "DOOR", "x y"):
        monkeypatch.setenv("DOOR", "env:DOOR")
        with pytest.raises(UsageError, match="expected an environment variable that holds an address"):
            parse_address(f"env:{name}")


def test_a_number_is_that_of_a_webcam(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert looks_live("917")
    assert looks_live("door=917")
    for text in ("917", "v4l2:917"):
        with pytest.raises(MediaError, match=f"{text}: expected a camera at /dev/video917, found no such device"):
            parse_address(text)
    (tmp_path / "917").write_bytes(b"")  # a file of that name is meant as one
    assert not looks_live("917")
    assert parse_address("917").kind == "file"


def test_a_webcam_that_is_there_is_opened_by_its_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("taemi_edge.live.capture.addresses._is_device", lambda text: text == "/dev/video2")
    assert (parse_address("2").kind, parse_address("2").target) == ("v4l2", "/dev/video2")
    assert default_name("2") == "/dev/video2"
