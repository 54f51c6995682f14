"""Encodes the pictures of a stream one by one, for recordings and for viewers: H.264, JPEG or PNG.

H.264 is what Foxglove's CompressedVideo asks for: one picture a message, in Annex B, without pictures that refer to
later ones, the parameter sets with each key picture. Where PyAV has no encoder for it, JPEG takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MediaError
from taemi_edge.media.opencv import OpenCV

cv2: Any = OpenCV("recording pictures")
_CODEC = "libx264"
#: H.264 of a picture smaller than a macroblock is no use to any decoder.
_LEAST_SIDE = 16
#: A viewer who joins, and a reader who begins in the middle, waits for a key picture no longer than this.
_KEY_EVERY_S = 2.0
_TIME_BASE = Fraction(1, 1_000_000)
#: FFmpeg's numbers for the colours of standard definition (SMPTE 170M) and brightness from 16 to 235.
_BT601, _LIMITED_RANGE = 6, 1


@dataclass(frozen=True)
class PictureSettings:
    """How pictures are encoded.

    Attributes:
        pictures: as H.264 video, or each by itself as JPEG.
        quality: of both, from 1 to 100; 90 is CRF 17 of H.264.
        lossless: as PNG in place of either.
    """

    pictures: Literal["h264", "jpeg"] = "h264"
    quality: int = 90
    lossless: bool = False

    @property
    def crf(self) -> int:
        """The constant rate factor of x264 for the quality."""
        return round(13 + (100 - self.quality) * 0.38)


class ImageEncoder:
    """Encodes each picture by itself, as JPEG or PNG.

    Example:
        >>> encoder = ImageEncoder(PictureSettings(lossless=True))
        >>> encoder.format, encoder.encode(np.zeros((4, 6, 3), np.uint8), 0.0)[:4]
        ('png', b'\\x89PNG')
    """

    is_video = False

    def __init__(self, settings: PictureSettings) -> None:
        self.format = "png" if settings.lossless else "jpeg"
        self._ending, self._options = (
            (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if settings.lossless
            else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, settings.quality])
        )

    def encode(self, image: Array, _time_s: float) -> bytes:
        """Encode a picture, RGB uint8 (H, W, 3).

        Raises:
            MediaError: it cannot be encoded, such as one of 70,000 columns.
        """
        try:
            done, encoded = cv2.imencode(self._ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), self._options)
        except cv2.error:
            done = False
        if not done:
            raise MediaError(f"expected a picture that {self.format} can hold, got {image.shape[1]} x {image.shape[0]}")
        return bytes(encoded)

    def want_key(self) -> None:
        """Do nothing: every picture stands by itself."""


class VideoEncoder:
    """Encodes pictures as H.264; a picture of another size begins the video anew.

    A last row or column beyond an even number is left out, as 4:2:0 demands.

    Args:
        settings: the quality.
    """

    is_video, format = True, "h264"

    def __init__(self, settings: PictureSettings) -> None:
        self._settings = settings
        self._codec: Any = None
        self._size_wh = (0, 0)
        self._key_s: float | None = None
        self._last_pts = -1

    def encode(self, image: Array, time_s: float) -> bytes:
        """Encode a picture, RGB uint8 (H, W, 3).

        Raises:
            MediaError: it cannot be encoded.
        """
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        try:
            if (width, height) != self._size_wh:
                self._begin(width, height)
            planes = cv2.cvtColor(np.ascontiguousarray(image[:height, :width]), cv2.COLOR_RGB2YUV_I420)
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            self._last_pts = max(round(time_s / _TIME_BASE), self._last_pts + 1)
            picture.pts, picture.time_base = self._last_pts, _TIME_BASE
            if self._key_s is None or not 0 <= time_s - self._key_s < _KEY_EVERY_S:
                picture.pict_type, self._key_s = av.video.frame.PictureType.I, time_s
            return b"".join(bytes(packet) for packet in self._codec.encode(picture))
        except (av.FFmpegError, cv2.error, ValueError) as error:
            self._size_wh = (0, 0)
            raise MediaError(f"expected a picture that H.264 can hold, got {width} x {height}: {error}") from error

    def want_key(self) -> None:
        """Let the next picture be one that can be read without those before it."""
        self._key_s = None

    def _begin(self, width: int, height: int) -> None:
        codec: Any = av.CodecContext.create(_CODEC, "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.gop_size, codec.max_b_frames = _TIME_BASE, 1 << 16, 0
        codec.thread_count = 1
        codec.colorspace, codec.color_range = _BT601, _LIMITED_RANGE
        codec.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "crf": str(self._settings.crf),
            "forced-idr": "1",
        }
        codec.open()
        self._codec, self._size_wh, self._key_s, self._last_pts = codec, (width, height), None, -1


PictureEncoder = ImageEncoder | VideoEncoder


def picture_encoder_for(settings: PictureSettings, first: Array) -> PictureEncoder:
    """What encodes the pictures of a stream: H.264 where it is wanted and can be had, else JPEG; PNG without loss.

    Args:
        settings: what is wanted.
        first: the first picture, RGB uint8 (H, W, 3).

    Example:
        >>> picture_encoder_for(PictureSettings(), np.zeros((8, 8, 3), np.uint8)).format
        'jpeg'
    """
    wanted = settings.pictures == "h264" and not settings.lossless
    if wanted and min(first.shape[:2]) >= _LEAST_SIDE and _CODEC in av.codecs_available:
        encoder = VideoEncoder(settings)
        try:
            encoder.encode(first, 0.0)
        except MediaError:
            return ImageEncoder(settings)
        return VideoEncoder(settings)
    return ImageEncoder(settings)
