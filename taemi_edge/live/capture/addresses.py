"""Parses the address of a source: what kind it is, how to open it, and how to show it without its password.

talk.mp4, file:talk.mp4                a file, played at its own pace
rtsp:// rtsps:// rtmp:// rtmps://      cameras and media servers
http:// https:// udp:// tcp:// srt://  what FFmpeg reads there: MPEG-TS, HLS, FLV, ...
v4l2:/dev/video0, /dev/video0          a webcam
alsa:default, pulse:NAME               a microphone (PulseAudio and PipeWire by way of GStreamer)
gst:PIPELINE ending in an appsink      anything that GStreamer reads, with a Jetson's hardware decoder
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taemi_edge.errors import MediaError, UsageError

AddressKind = Literal["file", "url", "v4l2", "alsa", "gst"]

URL_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)", re.DOTALL)
_NAME = re.compile(r"(?P<name>[A-Za-z0-9_-]+)=(?P<text>.+)", re.DOTALL)
#: Up to the last @: a password may hold one, and, mistyped, a slash.
_USER_INFO = re.compile(r"(?<=://)(?:[^/\s\"']*|[^/:\s\"']*:(?!\d+/)[^\s\"']*)@")
_QUERY = re.compile(r"(?<==)[^&\s\"']+")
_SECRET = re.compile(
    r"\b(user-pw|user-id|password|passwd|token|secret|key)(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s&]+)", re.IGNORECASE
)


@dataclass(frozen=True)
class Address:
    """The address of a source.

    Attributes:
        kind: which reader opens it, and how.
        target: what the reader opens; it may hold a password.
        shown: the address for log lines and pages; it never holds a password.
    """

    kind: AddressKind
    target: str
    shown: str

    @property
    def is_live(self) -> bool:
        """Whether it never ends in good order: the end of a file is no loss, that of anything else is."""
        return self.kind != "file"

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse_address(text: str) -> Address:
    """The address that a text names.

    Raises:
        UsageError: the scheme is unknown, or nothing follows it.
        MediaError: the file is not there.

    Example:
        >>> parse_address("rtsp://me:secret@cam.local/live")
        Address('rtsp://***@cam.local/live')
        >>> parse_address("pulse:default").kind
        'gst'
    """
    if text.startswith("/dev/") and Path(text).is_char_device():
        return Address("v4l2", text, text)
    match = _SCHEME.fullmatch(text)
    if match is None or Path(text).is_file():
        return _file(text)
    scheme, rest = match["scheme"].lower(), match["rest"]
    if not rest.strip("/ "):
        raise UsageError(f"{text}: expected something behind {scheme}:, got nothing")
    if scheme == "file":
        return _file(rest.removeprefix("//"))
    if scheme in ("v4l2", "alsa"):
        return Address("v4l2" if scheme == "v4l2" else "alsa", rest, text)
    if scheme == "pulse":
        device = "" if rest == "default" else f'device="{rest}" '
        return Address("gst", f"pulsesrc {device}! audioconvert ! audioresample ! appsink", text)
    if scheme == "gst":
        return Address("gst", rest, f"gst:{_masked(rest)}")
    if scheme in URL_SCHEMES and rest.startswith("//"):
        return Address("url", text, _masked(text))
    known = ", ".join((*URL_SCHEMES, "v4l2", "alsa", "pulse", "gst", "file"))
    raise UsageError(f"{_masked(text)}: expected a file or one of {known}, got the scheme {scheme!r}")


def split_name(text: str) -> tuple[str | None, str]:
    """Split NAME=ADDRESS; the name is None where there is none, or where a file has the whole text as its name.

    Example:
        >>> split_name("door=rtsp://door.local/1")
        ('door', 'rtsp://door.local/1')
        >>> split_name("talk.mp4")
        (None, 'talk.mp4')
    """
    match = _NAME.fullmatch(text)
    if match is None or Path(text).exists():
        return None, text
    return match["name"], match["text"]


def looks_live(text: str) -> bool:
    """Whether a text, with or without a name before it, means anything but a file.

    Example:
        >>> looks_live("door=rtsp://door.local/1"), looks_live("talk.mp4")
        (True, False)
    """
    address = split_name(text)[1]
    if Path(address).is_file():
        return False
    return address.startswith("/dev/") or (_SCHEME.fullmatch(address) is not None and not address.startswith("file:"))


def default_name(text: str) -> str:
    """The name of a source that the user gave none: that of its file, or its address without secrets."""
    address = parse_address(text)
    return Path(address.target).name if address.kind == "file" else address.shown[:100]


def _file(text: str) -> Address:
    if not Path(text).is_file():
        raise MediaError(f"{text}: expected a video or audio file, or an address such as rtsp://host/path")
    return Address("file", text, text)


def _masked(text: str) -> str:
    """The text without names, passwords and the values of queries."""
    masked = _SECRET.sub(r"\1\2***", _USER_INFO.sub("***@", text))
    address, question, query = masked.partition("?")
    return address + question + _QUERY.sub("***", query) if question else masked
