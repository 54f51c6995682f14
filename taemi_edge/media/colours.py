"""Colours of decoded pictures: from the brightness and colour difference that a codec keeps to RGB.

FFmpeg converts by other instructions on each processor, and rounds otherwise: a picture differs by up to two levels
between x86 and ARM. The commonest conversion is therefore computed in whole numbers, alike everywhere, so that a file
gives the same predictions on the machine where a model was trained and on the device: by OpenCV where it is installed,
else with its numbers in numpy, which takes ten times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.opencv import opencv_if_installed

#: Colours of standard definition (BT.601), which FFmpeg takes for what names none: its numbers for "unspecified",
#: BT.470BG and SMPTE 170M.
_BT601 = (2, 5, 6)
#: FFmpeg's number for brightness from 0 to 255; everything else is 16 to 235.
_FULL_RANGE = 2
#: By FFmpeg's name of how the pixels lie: the name of OpenCV's conversion.
_CODES = {"yuv420p": "COLOR_YUV2RGB_I420", "nv12": "COLOR_YUV2RGB_NV12"}
#: OpenCV's factors of BT.601, in 1/2^20: of brightness, of V in red, of U and V in green, of U in blue.
_BITS, _Y, _V_RED, _U_GREEN, _V_GREEN, _U_BLUE = 20, 1220542, 1673527, -409993, -852492, 2116026


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
        cv2 = opencv_if_installed()
        if cv2 is None:
            return rgb_of_planes(planes, interleaved=picture.format.name == "nv12")
        pixels: Array = cv2.cvtColor(planes, getattr(cv2, code))
    else:  # by default each conversion starts threads of its own, which takes twenty times as long
        pixels = picture.to_ndarray(format="rgb24", threads=1)
    return pixels


def rgb_of_planes(planes: Array, *, interleaved: bool) -> Array:
    """RGB of 4:2:0 in BT.601's limited range, as OpenCV computes it.

    Args:
        planes: uint8 (3/2 H, W): the brightness, and below it U and V of every second pixel of every second row.
        interleaved: whether U and V come by turns (NV12), and not one after the other (I420).

    Returns:
        RGB, uint8 (H, W, 3).

    Example:
        >>> rgb_of_planes(np.full((3, 2), 128, np.uint8), interleaved=False).tolist()[0][0]
        [130, 130, 130]
    """
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    below = planes[height:]
    if interleaved:
        u, v = below[:, 0::2], below[:, 1::2]
    else:
        u, v = below.reshape(2, height // 2, width // 2)
    u, v = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    bright = np.maximum(planes[:height].astype(np.int32) - 16, 0)
    bright *= _Y
    pixels = np.empty((height, width, 3), np.uint8)
    half = 1 << (_BITS - 1)
    for channel, colour in enumerate((_V_RED * v, _V_GREEN * v + _U_GREEN * u, _U_BLUE * u)):
        sums = bright + (colour + half).repeat(2, axis=0).repeat(2, axis=1)
        sums >>= _BITS
        np.clip(sums, 0, 255, out=sums)
        pixels[..., channel] = sums
    return pixels
