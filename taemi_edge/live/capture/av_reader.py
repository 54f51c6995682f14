"""Reads an address with FFmpeg (PyAV): files, streams from the network, webcams, and microphones by ALSA."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av

from taemi_edge.bundle.streams import AUDIO, VIDEO
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.clock import StreamClock
from taemi_edge.live.capture.decode_level import BEHIND_S, DecodeLevel
from taemi_edge.live.capture.readers import DecodedPicture, DecodedSound, SourceGoneError, Track
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.files import LIMITS, MOST_PIXELS, is_cover

#: How often in a row a demuxer may fail before the connection counts as lost.
_MAX_STUMBLES = 20
_SYSTEM_ALSA_CONFIG = "/usr/share/alsa/alsa.conf"
_LARGE_PIXELS = 1920 * 1088
#: Enough to know an RTSP stream, whose description names its codecs; opening then takes .2 s instead of 1.4.
_KNOWN_CODECS = {"analyzeduration": "100000", "fpsprobesize": "0"}
#: A transport stream must be looked at for a while: key frames come every second or two.
_UNKNOWN_CODECS = {"analyzeduration": "1500000", "probesize": "1000000"}


class AvReader:
    """One connection by FFmpeg; see `Reader`.

    Args:
        address: what to connect to; any kind but "gst".
        settings: its timeouts, and how long to wait before the next try after each kind of failure.

    Raises:
        SourceGoneError: the address cannot be reached, or holds neither picture nor sound that can be decoded.
    """

    def __init__(self, address: Address, settings: WatchSettings) -> None:
        self.absent: dict[Track, str] = {}
        self.losses: dict[Track, str] = {}
        self.unusable: dict[Track, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._clock = StreamClock()
        self._level: DecodeLevel = 0
        self._skips = False
        self._address, self._settings = address, settings
        self._container = self._open()
        try:
            self._video = self._first(VIDEO, [s for s in self._container.streams.video if not is_cover(s)])
            self._audio = self._first(AUDIO, self._container.streams.audio)
            if self._video is None and self._audio is None:
                found = "; ".join(sorted(set(self.absent.values())))
                raise SourceGoneError(f"neither picture nor sound: {found}", settings.retry_dear_s)
        except BaseException:
            self._container.close()
            raise
        if self._video is not None:
            # Threads over frames hold back as many frames as there are threads: worth it for large pictures alone.
            # Threads over slices (FFmpeg 8.1, H.264 of two slices) leave all of a picture but its last slice green.
            pixels = self._video.width * self._video.height
            large = pixels > _LARGE_PIXELS
            self._video.codec_context.options = dict(LIMITS)
            if pixels > MOST_PIXELS:
                self._container.close()
                size = f"{self._video.width} x {self._video.height}"
                raise SourceGoneError(f"its pictures are too large ({size})", settings.retry_dear_s)
            self._video.thread_type = "FRAME" if large else "NONE"
        start = self._container.start_time
        self._file_start_s = 0.0 if address.is_live or start is None else start / av.time_base

    def items(self) -> Iterator[DecodedPicture | DecodedSound]:
        for packet in self._packets():
            try:
                decoded = self._decoded(packet)
            except av.FFmpegError:
                self.damaged_packets += 1
                continue
            for frame in decoded:
                pts_s = None if frame.time is None else frame.time - self._file_start_s
                yield DecodedPicture(pts_s, frame) if packet.stream is self._video else DecodedSound(pts_s, frame)

    def set_decode_level(self, level: DecodeLevel) -> None:
        if self._video is not None:
            self._video.codec_context.skip_frame = "NONREF" if level else "DEFAULT"
        self._level = level

    def close(self) -> None:
        self._container.close()

    def _decoded(self, packet: Any) -> Sequence[Any]:
        """What comes out of the decoder for a packet; nothing up to the next key frame where the reader is behind."""
        time_s = packet.pts if packet.dts is None else packet.dts
        if packet.stream is not self._video or time_s is None:
            return list(packet.decode())
        self._clock.place(float(time_s * packet.time_base), time.monotonic())
        self.lag_s = self._clock.lag_s
        behind = self._level == 2 and self.lag_s > BEHIND_S
        if not self._skips and not behind:
            return list(packet.decode())
        if not self._skips:
            self._skips = True
            last = self._video.codec_context.decode(None)  # what lies in it would come out with pictures of later
            self._video.codec_context.flush_buffers()
            for frame in last:
                frame.time_base = packet.time_base
            return list(last)
        if behind or not packet.is_keyframe:
            return ()
        self._skips = False
        return list(packet.decode())

    def _packets(self) -> Iterator[Any]:
        streams = [s for s in (self._video, self._audio) if s is not None]
        stumbles = 0
        while True:
            asked_s = time.monotonic()
            try:
                for packet in self._container.demux(*streams):
                    arrived_s = time.monotonic()
                    self.waited_s += arrived_s - asked_s
                    stumbles = 0 if packet.size else stumbles
                    yield packet
                    asked_s = time.monotonic()
            except av.FFmpegError as error:
                waited_s = time.monotonic() - asked_s
                if waited_s >= self._settings.read_timeout_s * 0.9:
                    raise SourceGoneError(f"nothing came for {waited_s:.1f} s", self._settings.retry_most_s) from error
                stumbles += 1
                self.damaged_packets += 1
                if isinstance(error, av.InvalidDataError) and stumbles < _MAX_STUMBLES:
                    continue
                raise self._gone(error) from error
            if self._address.is_live:
                raise SourceGoneError("the sender ended the stream", self._settings.retry_most_s)
            return

    def _open(self) -> Any:
        address, settings = self._address, self._settings
        target = address.target
        options = dict(LIMITS)
        if address.kind == "url":
            options |= dict(_KNOWN_CODECS if target.startswith(("rtsp", "rtmp")) else _UNKNOWN_CODECS)
        if target.startswith("rtsp"):
            options["rtsp_transport"] = settings.rtsp_transport
            options["timeout"] = str(round(settings.open_timeout_s * 1e6))
        elif target.startswith("udp"):
            options |= {"fifo_size": "50000", "overrun_nonfatal": "1"}
        if address.kind == "alsa":
            _prepare_alsa()
        format_name = {"v4l2": "v4l2", "alsa": "alsa"}.get(address.kind)
        asked_s = time.monotonic()
        try:
            return av.open(
                target,
                format=format_name,
                options=options,
                metadata_errors="replace",  # names of tracks are written in any encoding; nobody reads them here
                timeout=(settings.open_timeout_s, settings.read_timeout_s),
            )
        except (av.FFmpegError, OSError) as error:
            waited_s = time.monotonic() - asked_s
            if waited_s >= settings.open_timeout_s * 0.9:
                raise SourceGoneError(f"no answer for {waited_s:.1f} s", settings.retry_most_s) from error
            raise self._gone(error) from error
        except ValueError as error:  # a format that this build of FFmpeg does not have, or an address that it cannot
            raise SourceGoneError("FFmpeg here cannot read it", settings.retry_dear_s) from error

    def _first(self, track: Track, streams: Any) -> Any:
        """The first stream of a kind that can be decoded; where there is none, `absent` says why."""
        name = "picture" if track == VIDEO else "sound"
        problem = f"the source has no {name}"
        for stream in streams:
            if stream.codec_context is not None and stream.codec_context.codec is not None:
                return stream
            problem = f"the codec of its {name} cannot be decoded here"
        self.absent[track] = problem
        return None

    def _gone(self, error: Exception) -> SourceGoneError:
        """What an error of FFmpeg means, for the person who must mend it; its own text may hold a password."""
        costly_s, soon_s = self._settings.retry_dear_s, self._settings.retry_most_s
        number = getattr(error, "errno", None)
        named = {
            "HTTPUnauthorizedError": ("wrong name or password (401)", costly_s),
            "HTTPForbiddenError": ("access is forbidden (403)", costly_s),
            "HTTPNotFoundError": ("the server is there, the stream is not (404)", soon_s * 4),
            "HTTPServerError": ("the server failed (5xx)", soon_s * 4),
            "HTTPTooManyRequestsError": ("the server asks for fewer tries (429)", costly_s),
            "HTTPOtherClientError": ("the server refused the request (4xx)", costly_s),
            "ProtocolNotFoundError": ("this FFmpeg does not speak its protocol", costly_s),
            "DecoderNotFoundError": ("its codec cannot be decoded here", costly_s),
            "InvalidDataError": ("what came is no video or audio that FFmpeg can read", soon_s),
            "ExitError": ("no answer in time", soon_s),
            "EOFError": ("the sender ended the stream", soon_s),
        }
        if type(error).__name__ in named:
            return SourceGoneError(*named[type(error).__name__])
        numbered = {
            errno.ECONNREFUSED: ("connection refused: nothing listens there", soon_s),
            errno.ECONNRESET: ("the connection was reset", soon_s),
            errno.EPIPE: ("the connection was closed", soon_s),
            errno.ETIMEDOUT: ("no answer in time", soon_s),
            errno.EHOSTUNREACH: ("the host cannot be reached", soon_s * 4),
            errno.ENETUNREACH: ("the network cannot be reached", soon_s * 4),
            errno.EADDRINUSE: ("the port is in use by another program", soon_s * 4),
            errno.EBUSY: ("the device is in use by another program", soon_s * 4),
            errno.ENOENT: ("no such device or file", soon_s * 4),
            errno.ENODEV: ("no such device", soon_s * 4),
            errno.EACCES: ("no permission: add the user to the group `video` or `audio`", costly_s),
            errno.EPERM: ("no permission", costly_s),
            errno.EIO: (self._io_problem() if number == errno.EIO else "", soon_s * 4),
        }
        return SourceGoneError(*numbered.get(number or 0, (f"FFmpeg failed: {_strerror(error)}", soon_s * 2)))

    def _io_problem(self) -> str:
        """FFmpeg says `I/O error` for names that nobody knows, for devices that fail and for streams of rubbish."""
        host = urlsplit(self._address.target).hostname if self._address.kind == "url" else None
        if host is None:
            return "the device failed (input/output error)"
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return "the host's name is not known here"
        return "what came is no video or audio that FFmpeg can read"


@cache
def _prepare_alsa() -> None:
    """Where PyAV's wheels carry their own ALSA: let it find its configuration, and keep it from writing to stderr.

    It writes a line each time that a device does not open, which is what happens all day where a microphone is gone.
    """
    for library in (Path(av.__file__).parent.parent / "av.libs").glob("libasound*.so*"):
        ctypes.CDLL(str(library)).snd_lib_error_set_handler(_SAY_NOTHING)
        if Path(_SYSTEM_ALSA_CONFIG).is_file():  # it looks where it was built
            os.environ.setdefault("ALSA_CONFIG_PATH", str(Path(__file__).with_name("alsa.conf")))


#: void (*)(const char *file, int line, const char *function, int err, const char *format, ...)
_SAY_NOTHING = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)(
    lambda *_: None
)


def _strerror(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
