"""Parses the address of a source: what kind it is, how to open it, and how to show it without its password.

talk.mp4, file:talk.mp4                a file, played at its own pace
drive.mcap, a folder of a ROS bag      a recording of a robot, played at its own pace
rtsp:// rtsps:// rtmp:// rtmps://      cameras and media servers
http:// https:// udp:// tcp:// srt://  what FFmpeg reads there: MPEG-TS, HLS, FLV, ...
v4l2:/dev/video0, /dev/video0, 0       a webcam; a number alone is that of /dev/videoN
alsa:default, pulse:NAME               a microphone (PulseAudio and PipeWire by way of GStreamer)
gst:PIPELINE ending in an appsink      anything that GStreamer reads, with a Jetson's hardware decoder
ros:/TOPIC                             a topic of robots that speak Zenoh
mqtt://HOST/TOPIC                      numbers or words of an MQTT broker
serial:/dev/ttyUSB0                    lines of numbers or words from a serial port
udp://HOST:PORT                        for a series or words: datagrams with numbers or words
env:NAME                               the address that the environment variable NAME holds, with its password
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from taemi_edge.errors import MediaError, UsageError, printable
from taemi_edge.live.capture.sensors.addresses import SENSOR_SCHEMES, parse_sensor
from taemi_edge.media.places import URL_SCHEMES, shown_place, what_is_at
from taemi_edge.media.recordings.opening import is_recording, split_topic

AddressKind = Literal["file", "url", "v4l2", "alsa", "gst", "ros", "mqtt", "serial", "datagram", "recording"]

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)", re.DOTALL)
_WEBCAM = re.compile(r"(?:v4l2:)?(?P<number>[0-9]{1,3})")
_NAME = re.compile(r"(?P<name>[A-Za-z0-9_-]+)=(?P<text>.+)", re.DOTALL)
#: What the name of a source cannot hold.
_ODD_SIGNS = re.compile(r"[^A-Za-z0-9 ._:/@\[\]-]+")
_KNOWN = (*URL_SCHEMES, "v4l2", "alsa", "pulse", "gst", "ros", "mqtt", "mqtts", "serial", "file", "env")


@dataclass(frozen=True)
class Address:
    """The address of a source.

    Attributes:
        kind: which reader opens it, and how.
        target: what the reader opens, without its options; it may hold a password.
        shown: the address for log lines and pages; it never holds a password.
        options: what stands behind the question mark, of kinds that the toolkit reads by itself; by name, decoded.
    """

    kind: AddressKind
    target: str
    shown: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_live(self) -> bool:
        """Whether it never ends in good order: the end of a file is no loss, that of anything else is."""
        return self.kind not in ("file", "recording")

    @property
    def feeds_one_stream(self) -> bool:
        """Whether its reader decodes for one stream, and has to know what that stream takes."""
        return self.kind in ("ros", "mqtt", "serial", "datagram", "recording")

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse_address(text: str, rows: bool = False) -> Address:
    """The address that a text names.

    Args:
        text: as it was typed.
        rows: whether it feeds a series or words: then udp:// means datagrams that hold such, and no transport stream.

    Raises:
        UsageError: the scheme is unknown, nothing follows it, or it has an option that it does not know.
        MediaError: the file or the camera is not there.

    Example:
        >>> parse_address("rtsp://me:secret@cam.local/live")
        Address('rtsp://cam.local/live')
        >>> parse_address("pulse:default").kind
        'gst'
        >>> parse_address("udp://0.0.0.0:9000").kind, parse_address("udp://0.0.0.0:9000?format=<3f", rows=True).kind
        ('url', 'datagram')
    """
    if text.startswith("/dev/") or webcam_of(text) is not None:
        return _device(webcam_of(text) or text, text)
    match = _SCHEME.fullmatch(text)
    if (match is None or _is_file(text)) and is_recording(text):
        return _recording(text)
    if match is None or _is_file(text):
        return _file(text)
    scheme, rest, shown = match["scheme"].lower(), match["rest"], shown_place(text)
    if scheme in _KNOWN and not rest.strip("/ "):
        raise UsageError(f"{scheme}:...: expected something behind {scheme}:, got nothing")
    if scheme == "env":
        return parse_address(address_of_variable(rest), rows)
    if scheme in SENSOR_SCHEMES and (scheme != "udp" or rows):
        kind, target, options = parse_sensor(scheme, rest, shown)
        return Address(kind, target, shown, options)
    if scheme == "file":
        return _file(rest.removeprefix("//"))
    if scheme in ("v4l2", "alsa"):
        return Address("v4l2" if scheme == "v4l2" else "alsa", rest, shown)
    if scheme == "pulse":
        return _pulse(rest, shown)
    if scheme == "gst":
        return Address("gst", rest, shown)
    if scheme in URL_SCHEMES:
        if not rest.startswith("//"):
            raise UsageError(f"{shown}: expected two slashes behind {scheme}:, as in {scheme}://HOST/PATH")
        return Address("url", text, shown)
    # Only a scheme that is near to one of ours is shown: in me:password@host it is a name.
    near = rest.startswith("//") and difflib.get_close_matches(scheme, _KNOWN, 1)
    got = f"the scheme {scheme!r}: did you mean {near[0]}?" if near else "another scheme"
    raise UsageError(f"{shown}: expected a file or one of {', '.join(_KNOWN)}, got {got}")


def webcam_of(text: str) -> str | None:
    """The device of a webcam that is named by its number, as in OpenCV; None of anything else, such as a file.

    Example:
        >>> webcam_of("0"), webcam_of("v4l2:12"), webcam_of("talk.mp4")
        ('/dev/video0', '/dev/video12', None)
    """
    match = _WEBCAM.fullmatch(text)
    return None if match is None or os.path.lexists(text) else f"/dev/video{int(match['number'])}"


def address_of_variable(name: str) -> str:
    """The address that an environment variable holds, so that it stands neither in a file nor in the list of processes.

    Raises:
        UsageError: there is no such variable, or it is empty or names another variable.
    """
    known = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    address = os.environ.get(name, "") if known else ""
    if not address or address.startswith("env:"):
        shown = name if known else "..."
        raise UsageError(f"env:{shown}: expected an environment variable that holds an address, found none")
    return address


def scheme_of(text: str) -> str:
    """The scheme of an address, also of one that an environment variable holds; "" of a file.

    Raises:
        UsageError: there is no such variable.

    Example:
        >>> scheme_of("mqtt://broker/imu"), scheme_of("imu.csv")
        ('mqtt', '')
    """
    match = _SCHEME.fullmatch(text)
    if match is None or os.path.lexists(text):
        return ""
    scheme = match["scheme"].lower()
    return scheme_of(address_of_variable(match["rest"])) if scheme == "env" else scheme


def split_name(text: str) -> tuple[str | None, str]:
    """Split NAME=ADDRESS; the name is None where there is none, or where a file has the whole text as its name.

    Example:
        >>> split_name("door=rtsp://door.local/1")
        ('door', 'rtsp://door.local/1')
        >>> split_name("talk.mp4"), split_name("rtsp://door.local/user=me")
        ((None, 'talk.mp4'), (None, 'rtsp://door.local/user=me'))
    """
    match = _NAME.fullmatch(text)
    if match is None or os.path.lexists(text):
        return None, text
    return match["name"], match["text"]


def looks_live(text: str) -> bool:
    """Whether a text, with or without a name before it, means anything but a file.

    Example:
        >>> looks_live("door=rtsp://door.local/1"), looks_live("talk.mp4")
        (True, False)
    """
    address = split_name(text)[1]
    if _is_file(address):
        return False
    return (
        webcam_of(address) is not None
        or address.startswith("/dev/")
        or (_SCHEME.fullmatch(address) is not None and not address.startswith("file:"))
    )


def default_name(text: str) -> str:
    """The name of a source that the user gave none: that of its file, or its address without secrets.

    Example:
        >>> default_name("rtsp://me:secret@cam.local/1?x=2"), default_name("gst:rtspsrc location=x ! appsink")
        ('rtsp://cam.local/1/...', 'gst:rtspsrc ...')
    """
    address = parse_address(text)
    name = Path(address.target).name if address.kind in ("file", "recording") else address.shown
    return _ODD_SIGNS.sub("_", printable(name))[:100]


def is_safe_name(name: str) -> bool:
    """Whether the name of a source can be shown everywhere: it is no address that holds more than may be shown of one.

    Example:
        >>> is_safe_name("rtsp://cam.local/1"), is_safe_name("rtsp://me:secret@cam.local/1")
        (True, False)
    """
    is_address = re.search(r":\S*@|:/|//", name)
    address = re.sub(r"-\d+$", "", name)  # of sources that are shown alike, the second ends in -2
    return not is_address or address == shown_place(address)


def _file(text: str) -> Address:
    if not _is_file(text):
        raise MediaError(f"{shown_place(text)}: expected a video or audio file, or an address such as rtsp://host/path")
    return Address("file", text, shown_place(text))


def _recording(text: str) -> Address:
    file, _ = split_topic(text)
    if not os.path.exists(file):
        raise MediaError(f"{shown_place(file)}: expected a recording, found {what_is_at(file)}")
    return Address("recording", text, shown_place(text))


def _pulse(device: str, shown: str) -> Address:
    """A microphone of PulseAudio, by way of GStreamer."""
    if '"' in device or "\\" in device:
        raise UsageError(f"{shown}: expected the name of a device of PulseAudio, got one with quotes")
    named = "" if device == "default" else f'device="{device}" '
    return Address("gst", f"pulsesrc {named}! audioconvert ! audioresample ! appsink", shown)


def _device(text: str, typed: str) -> Address:
    """A webcam by its path, or by its number as it was typed."""
    if _is_device(text):
        return Address("v4l2", text, text)
    if os.path.lexists(text):
        return _file(text)
    there = ", ".join(sorted(str(camera) for camera in Path("/dev").glob("video*"))) or "none"
    wanted = f"{shown_place(text)}: expected a camera" if typed == text else f"{typed}: expected a camera at {text}"
    raise MediaError(f"{wanted}, found no such device (cameras here: {there}): plug it in, or name another")


def _is_device(text: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(text).st_mode)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return False


def _is_file(text: str) -> bool:
    return os.path.isfile(text)
