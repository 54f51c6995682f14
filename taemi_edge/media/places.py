"""What may be shown of a place that somebody typed: a file whole, and of an address what can hold no secret.

Passwords stand in more forms than anybody can list: before an @, in a query, in a path (`/user=admin_password=x`, the
stream keys of RTMP), in properties of a GStreamer pipeline, and in addresses that are mistyped. So nothing is masked
here. What is shown is built from an allow-list: the scheme, the host, the port, and of the path the words that cameras
and servers use (`live`, `Streaming/Channels/101`). Everything else becomes `...`.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from taemi_edge.errors import printable

#: The schemes of addresses that FFmpeg reads from.
URL_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt")
HIDDEN = "..."

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)", re.DOTALL)
#: Schemes that somebody may type where they do not belong.
_OTHER_SCHEMES = (
    *("mqtt", "mqtts", "ws", "wss", "ftp", "sftp", "oci", "rtp", "mms", "file", "env", "unix"),
    *("s3", "gs", "gcs", "abfs", "hdfs", "ray"),
)
_AUTHORITY = re.compile(
    r"(?:[^/?#]*@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9.]{1,15})?\])"
    r"(?P<port>:\d{1,5})?"
)
#: A bundle in a registry, whose name, tag and digest are no secrets: people have to see which of them they mistyped.
_IN_A_REGISTRY = re.compile(
    r"//(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:]{2,45}\])(?::\d{1,5})?(?:/[A-Za-z0-9._-]{1,128}){1,8}"
    r"(?::[A-Za-z0-9._-]{1,128})?(?:@sha256:[0-9A-Fa-f]{1,64})?"
)
#: The parts of paths that cameras and servers have of their own; what a user or a provider chose is not among them.
_KNOWN_PART = re.compile(
    r"(?:live|stream|streams|streaming|channel|channels|cam|camera|ch|main|sub|video|audio|media|h26[45]|mjpeg|mpeg4|"
    r"onvif|profile|unicast|axis-media|media\.amp|av|hls|index|playlist|mpegts|test|track|app|play|preview)?"
    r"[-_]?\d{0,3}(?:\.(?:sdp|m3u8|ts|mp4|flv|amp|mjpg|mjpeg))?",
    re.IGNORECASE,
)
#: A folder of a bucket, without the options behind it: people have to see which of them they mistyped.
_IN_A_BUCKET = re.compile(r"(//[A-Za-z0-9][A-Za-z0-9._-]{1,221}(?:/[\w ./~+,()'=-]{0,1024})?)(?:\?.*)?", re.DOTALL)
_BUCKETS = ("s3", "gs", "gcs")
#: A topic of an MQTT broker, which is a name like that of a file: people have to see which of them they mistyped.
_MQTT_TOPIC = re.compile(r"(?:/[A-Za-z0-9._-]{1,64}){1,10}")
#: What stands before the options of a sensor's address, which are never shown.
_SENSORS = {
    "serial": re.compile(r"/dev/[A-Za-z0-9._:/-]{1,120}"),
    "ros": re.compile(r"(?:/[A-Za-z0-9_~]{1,64}){1,10}(?:\.[A-Za-z0-9_.,{}\[\]-]{1,120})?"),
}
_DEVICES = {
    "v4l2": re.compile(r"/dev/[A-Za-z0-9._/-]{1,80}"),
    "alsa": re.compile(r"[A-Za-z0-9_-]{1,40}(?::[A-Za-z0-9_=,-]{1,60})?"),
    "pulse": re.compile(r"[A-Za-z0-9._:-]{1,120}"),
    "env": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}"),
}
#: The first elements of pipelines, which may be shown; whatever else a pipeline says may be a value.
_SOURCE_ELEMENTS = (
    *("rtspsrc", "rtmpsrc", "rtmp2src", "srtsrc", "souphttpsrc", "udpsrc", "tcpclientsrc", "uridecodebin", "appsrc"),
    *("urisourcebin", "uridecodebin3", "playbin", "playbin3", "filesrc", "multifilesrc", "v4l2src", "alsasrc"),
    *("pulsesrc", "pipewiresrc", "videotestsrc", "audiotestsrc", "nvarguscamerasrc", "nvv4l2camerasrc", "ximagesrc"),
    *("libcamerasrc",),
)
#: A path that cannot be an address: no sign of one, and nothing that could be a value.
_PLAIN_PATH = re.compile(r"(?!//)[\w ./~+,()'\[\]-]+")
_LIKE_A_SCHEME = re.compile(
    rf"\s*(?:{'|'.join((*URL_SCHEMES, *_OTHER_SCHEMES, *_SENSORS, 'gst', 'pulse', 'alsa', 'v4l2'))})\s*[:;/]",
    re.IGNORECASE,
)
_FILE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,7}$|\.[A-Za-z0-9]{1,3}$")


def shown_place(text: str | os.PathLike[str]) -> str:
    """What messages, log lines, pages and metrics show of a file or an address. It holds no secret.

    Args:
        text: as it was typed: a file, an address or a pipeline, or anything that was meant as one.

    Example:
        >>> shown_place("rtsp://me:secret@cam.local:554/Streaming/Channels/101")
        'rtsp://cam.local:554/Streaming/Channels/101'
        >>> shown_place("rtmp://a.rtmp.example/live2/abcd-efgh?x=1"), shown_place("rtsp:/me:secret@cam/1")
        ('rtmp://a.rtmp.example/live2/...', 'rtsp:...')
        >>> shown_place("oci://registry.example/models/mine:3"), shown_place("oci://me:pw@registry.example/mine:3")
        ('oci://registry.example/models/mine:3', 'oci://registry.example/...')
        >>> shown_place("s3://clips/may/raw?endpoint_override=host&secret_key=x"), shown_place("s3://me:pw@clips/may")
        ('s3://clips/may/raw', 's3://clips/...')
        >>> shown_place("mqtt://me:secret@broker/robots/imu?qos=1"), shown_place("serial:/dev/ttyUSB0?baud=9600")
        ('mqtt://broker/robots/imu', 'serial:/dev/ttyUSB0')
        >>> shown_place("clips/talk.mp4")
        'clips/talk.mp4'
    """
    text = os.fspath(text)
    match = _SCHEME.fullmatch(text)
    if text == "-" or (os.path.lexists(text) and "\0" not in text):
        return printable(text)
    if match is None:
        return _shown_path(text)
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme in ("file", "unix"):
        return f"{scheme}:{_shown_path(rest)}"
    if scheme in _DEVICES:
        return f"{scheme}:{rest if _DEVICES[scheme].fullmatch(rest) else HIDDEN}"
    if scheme in _SENSORS:
        named = rest.partition("?")[0]
        return f"{scheme}:{named if _SENSORS[scheme].fullmatch(named) else HIDDEN}"
    if scheme == "gst":
        first = rest.split(maxsplit=1)[:1]
        return f"gst:{first[0]} {HIDDEN}" if first and first[0] in _SOURCE_ELEMENTS else f"gst:{HIDDEN}"
    if scheme == "oci" and _IN_A_REGISTRY.fullmatch(rest):
        return f"{scheme}:{rest}"
    if scheme in _BUCKETS and "@" not in rest and (in_a_bucket := _IN_A_BUCKET.fullmatch(rest)):
        return f"{scheme}:{in_a_bucket[1]}"
    if scheme in (*URL_SCHEMES, *_OTHER_SCHEMES):
        return f"{scheme}:{_shown_url(rest, topics=scheme in ('mqtt', 'mqtts'))}"
    return _shown_path(text)


def what_is_at(place: str | os.PathLike[str]) -> str:
    """Say what is found where a file is expected: a folder, a pipe, nothing.

    Example:
        >>> what_is_at("/"), what_is_at("/dev/null"), what_is_at("x" * 300)
        ('a folder', 'no ordinary file', 'a name that is too long')
    """
    if os.path.isdir(place):
        return _what_folder(place)
    try:
        os.stat(place)
    except OSError as error:
        return "a name that is too long" if error.errno == errno.ENAMETOOLONG else "nothing"
    except ValueError:
        return "a name that no file can have"
    return "no ordinary file"


def _what_folder(place: str | os.PathLike[str]) -> str:
    """A folder, and where a recorder of ROS 2 was killed in it what helps."""
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return "a folder"
    bags = [name for name in names if name.endswith((".db3", ".mcap"))]
    if not bags:
        return "a folder"
    return f"a folder with {bags[0]} and no metadata.yaml (name the file itself, or let `ros2 bag reindex` write it)"


def holds_address(text: str) -> bool:
    """Whether a text may be, or hold, an address of something else than a file on this machine.

    Example:
        >>> [holds_address(text) for text in ("rtsp:/me:pw@cam", "vision@2-4", "clips/talk.mp4", "user=me_password=x")]
        [True, False, False, True]
    """
    if os.path.lexists(text) and "\0" not in text:
        return False
    signs = r"://|^//|\w:\S*@|(?:pass|pwd|pw|token|secret|key|auth|user)\w*\s*[=:]"
    return bool(_LIKE_A_SCHEME.match(text) or re.search(signs, text, re.IGNORECASE))


def _shown_url(rest: str, topics: bool = False) -> str:
    """What may be shown behind the colon of a URL; its path may be a topic, which is shown without its options."""
    if not rest.startswith("//"):
        return HIDDEN
    authority = re.match(r"//([^/?#]*)", rest)
    behind = rest[authority.end() :] if authority else ""
    if authority and not behind and re.fullmatch(r"@?:\d{1,5}", authority[1]):  # a port of this machine
        return authority[0]
    match = _AUTHORITY.fullmatch(authority[1]) if authority else None
    # An @ further behind may be that of a password with a slash in it: then the name before it is no host.
    if match is None or "@" in behind or int((match["port"] or ":0")[1:]) > 65_535:
        return f"//{HIDDEN}"
    topic = behind.partition("?")[0]
    shown = topic if topics and _MQTT_TOPIC.fullmatch(topic) else _shown_url_path(behind)
    return f"//{match['host']}{match['port'] or ''}{shown}"


def _shown_url_path(path: str) -> str:
    """The parts of a path up to the first that is not known; a query and a fragment are never shown."""
    kept = []
    for part in re.split(r"[?#]", path)[0].split("/")[1:]:
        if not _KNOWN_PART.fullmatch(part):
            break
        kept.append(f"/{part}")
    shown = "".join(kept)
    return shown if shown == path else f"{shown.rstrip('/')}/{HIDDEN}"


def _shown_path(text: str) -> str:
    """A path that is not there: whole where it can only be the path of a file."""
    plain = _PLAIN_PATH.fullmatch(text) and not _LIKE_A_SCHEME.match(text)
    near = os.path.isdir(os.path.dirname(text) or ".")
    if plain and (near or _FILE_ENDING.search(Path(text).name)):
        return printable(text)
    if near and text.startswith(("/", "./", "../")) and not holds_address(text):
        return printable(text)
    return HIDDEN
