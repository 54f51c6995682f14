"""Colours of decoded pictures: from the brightness and colour difference that a codec keeps to RGB.

FFmpeg converts by other instructions on each processor, and rounds otherwise: a picture differs by up to two levels
between x86 and ARM. OpenCV computes the commonest conversion in whole numbers, alike everywhere, so that a file gives
the same predictions on the machine where a model was trained and on the device.
"""

from __future__ import annotations

from typing import Any

import cv2

from taemi_edge.bundle.values import Array

#: Colours of standard definition (BT.601), which FFmpeg takes for what names none: its numbers for "unspecified",
#: BT.470BG and SMPTE 170M.
_BT601 = (2, 5, 6)
#: FFmpeg's number for brightness from 0 to 255; everything else is 16 to 235.
_FULL_RANGE = 2
_CODES = {"yuv420p": cv2.COLOR_YUV2RGB_I420, "nv12": cv2.COLOR_YUV2RGB_NV12}


def rgb_pixels(picture: Any) -> Array:
    """Convert a picture that PyAV decoded.

    Args:
        picture: an `av.VideoFrame`.

    Returns:
        RGB, uint8 (H, W, 3), not turned. Equal on every processor where the picture is 4:2:0 in BT.601's limited range,
        else equal within two levels.

    Raises:
        av.FFmpegError, ValueError: the picture cannot become RGB.

    Example:
        >>> import av
        >>> rgb_pixels(av.VideoFrame(4, 2, "yuv420p")).shape
        (2, 4, 3)
    """
    code = _CODES.get(picture.format.name)
    even = picture.width % 2 == 0 and picture.height % 2 == 0
    if code is not None and even and picture.colorspace in _BT601 and picture.color_range != _FULL_RANGE:
        planes: Array = picture.to_ndarray()  # (3/2 H, W)
        pixels: Array = cv2.cvtColor(planes, code)
    else:  # by default each conversion starts threads of its own, which takes twenty times as long
        pixels = picture.to_ndarray(format="rgb24", threads=1)
    return pixels
