"""Decodes videos whose pictures come in messages of their own: H.264 and H.265, as cameras and recorders send them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av

from taemi_edge.errors import MessageError
from taemi_edge.media.files import LIMITS, MOST_PIXELS

#: By what messages write as their format.
CODECS: Final = {"h264": "h264", "avc": "h264", "libx264": "h264", "h264_nvmpi": "h264", "h265": "hevc", "hevc": "hevc"}
#: Units of a stream that are part of a picture, and those where one may begin to read: pictures that need no other one,
#: and descriptions of the stream, which come where one may begin, too.
_PICTURES: Final = {"h264": {1, 2, 3, 4, 5}, "hevc": set(range(32))}
_BEGINNINGS: Final = {"h264": {5, 7}, "hevc": {*range(16, 22), 33}}
#: Units that came in messages without a picture, in bytes.
_MOST_ASIDE = 64 * 1024
_MOST_WAITING = 64


class VideoMessages:
    """Decodes one video, message by message; what comes before its first whole picture is left out.

    Args:
        form: what the messages call their format.

    Attributes:
        left_out: messages before the first whole picture.

    Raises:
        MessageError: nothing here decodes the format.
    """

    def __init__(self, form: str) -> None:
        codec = CODECS.get(form.strip().lower())
        if codec is None:
            raise MessageError(f"expected a video in h264 or h265, got {form!r:.80}")
        self._codec = codec
        self._context: Any = None
        self._stamps: dict[int, int | None] = {}
        self._count = 0
        self._aside = b""
        self.left_out = 0

    def decode(self, data: Any, stamp_ns: int | None) -> list[tuple[int | None, Any]]:
        """Decode the picture of a message.

        Returns:
            Stamps and PyAV's frames: mostly one, none where a decoder waits for the next message.

        Raises:
            MessageError: the message is damaged, or lacks a picture that came before.
        """
        content = bytes(data)
        kinds = set(_kinds(content, self._codec))
        if not kinds:
            raise MessageError(f"expected {self._codec} with start codes (Annex B), got {len(content):,} bytes without")
        content = self._aside + content
        if not kinds & _PICTURES[self._codec]:  # some encoders send what describes the stream alone, and once
            self._aside = content[-_MOST_ASIDE:]
            return []
        if self._context is None:
            if not set(_kinds(content, self._codec)) & _BEGINNINGS[self._codec]:
                self.left_out += 1
                return []
            self._context = self._open()
        self._aside = b""
        self._count += 1
        packet = av.Packet(content)
        packet.pts = packet.dts = self._count
        packet.time_base = Fraction(1, 1000)
        self._stamps[self._count] = stamp_ns
        if len(self._stamps) > _MOST_WAITING:
            del self._stamps[next(iter(self._stamps))]
        return self._decoded(packet)

    def finish(self) -> list[tuple[int | None, Any]]:
        """The pictures that the decoder still holds, after the last message."""
        if self._context is None:
            return []
        try:
            return self._decoded(None)
        finally:
            self._context = None

    def _open(self) -> Any:
        context = av.CodecContext.create(self._codec, "r")
        context.options = dict(LIMITS)
        context.thread_count = 1  # more threads would hold back a picture for each of them
        return context

    def _decoded(self, packet: Any) -> list[tuple[int | None, Any]]:
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            raise MessageError(f"expected a picture in {self._codec}, got a damaged one: {_reason(error)}") from error
        for frame in frames:
            if frame.width * frame.height > MOST_PIXELS:
                raise MessageError(
                    f"expected pictures of up to {MOST_PIXELS:,} pixels, got {frame.width} x {frame.height}"
                )
        whole = [(self._stamps.pop(frame.pts, None), frame) for frame in frames if not frame.is_corrupt]
        if frames and not whole:
            raise MessageError("expected a whole picture, got one that lacks those before it")
        return whole


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _kinds(content: bytes, codec: str) -> Iterator[int]:
    """The kinds of the units of a message, which begin with 00 00 01."""
    at = content.find(b"\0\0\1")
    while 0 <= at < len(content) - 3:
        head = content[at + 3]
        yield head & 31 if codec == "h264" else head >> 1 & 63
        at = content.find(b"\0\0\1", at + 3)
