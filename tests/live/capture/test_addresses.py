"""Addresses are told apart, and shown without secrets."""

from __future__ import annotations

import pytest

from taemi_edge.errors import MediaError, UsageError
from taemi_edge.live.capture.addresses import default_name, looks_live, parse_address, split_name


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("rtsp://me:secret@cam/1", "url", "rtsp://***@cam/1"),
        ("http://cam/live.m3u8?token=abc&x=1", "url", "http://cam/live.m3u8?token=***&x=***"),
        ("rtsp://me:se@secret@cam:554/1", "url", "rtsp://***@cam:554/1"),
        ("rtsp://me:secret/0@cam/1", "url", "rtsp://***@cam/1"),
        ("rtsp://cam:554/stream@2", "url", "rtsp://cam:554/stream@2"),
        ("rtsp://cam/stream@2", "url", "rtsp://cam/stream@2"),
        ("udp://127.0.0.1:5000", "url", "udp://127.0.0.1:5000"),
        ("v4l2:/dev/video7", "v4l2", "v4l2:/dev/video7"),
        ("alsa:hw:1,0", "alsa", "alsa:hw:1,0"),
        ("pulse:default", "gst", "pulse:default"),
        (
            "gst:rtspsrc location=rtsp://a:b@c/1 user-pw=x ! decodebin ! appsink",
            "gst",
            "gst:rtspsrc location=rtsp://***@c/1 user-pw=*** ! decodebin ! appsink",
        ),
    ],
)
def test_addresses_are_told_apart_and_shown_without_secrets(text: str, kind: str, shown: str):
    address = parse_address(text)
    assert (address.kind, address.shown) == (kind, shown)
    assert looks_live(text)
    assert "secret" not in repr(address)
    assert default_name(text) == shown


def test_what_is_no_address_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="got the scheme 'rtps'"):
        parse_address("rtps://cam/1")
    with pytest.raises(UsageError, match="expected something behind rtsp:"):
        parse_address("rtsp://")
    with pytest.raises(MediaError, match="expected a video or audio file"):
        parse_address(str(tmp_path / "nothing.mp4"))
    file = tmp_path / "a=b.mp4"
    file.touch()
    assert split_name(str(file)) == (None, str(file))
    assert split_name("door=rtsp://x") == ("door", "rtsp://x")
    assert not looks_live(str(file))
