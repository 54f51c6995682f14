"""The picture that the live page shows of a camera, as JPEG: by OpenCV where it is installed, else by FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.opencv import opencv_if_installed
from taemi_edge.media.resizing import resized

#: No picture is shown wider than this.
_WIDTH = 480
#: Of JPEG: in OpenCV's scale, where 100 is best, and in FFmpeg's, where 2 is.
_QUALITY, _QUANTISER = 70, 5


def jpeg_preview(image: Array) -> bytes:
    """A frame as JPEG, no wider than the page shows it.

    Args:
        image: RGB, uint8 (H, W, 3).

    Example:
        >>> jpeg_preview(np.zeros((48, 64, 3), np.uint8))[:3].hex()
        'ffd8ff'
    """
    height, width = image.shape[:2]
    if width > _WIDTH:
        image = resized(image, (_WIDTH, max(1, round(height * _WIDTH / width))), shrinks=True)
    cv2 = opencv_if_installed()
    if cv2 is None:
        return jpeg_by_ffmpeg(image)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(encoded)


def jpeg_by_ffmpeg(image: Array) -> bytes:
    """A picture as JPEG, RGB uint8 (H, W, 3)."""
    codec: Any = av.CodecContext.create("mjpeg", "w")
    codec.height, codec.width, codec.pix_fmt = *image.shape[:2], "yuvj420p"
    codec.time_base, codec.thread_count = Fraction(1, 25), 1
    codec.options = {"flags": "+qscale", "global_quality": str(_QUANTISER * 118)}  # 118 of FFmpeg's lambda are one step
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format="yuvj420p")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])
