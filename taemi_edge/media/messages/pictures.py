"""Pixels of pictures that messages hold: raw in the encodings of ROS, or compressed as JPEG, PNG or WebP.

A number of 16 bits, of depth or of brightness, becomes one of 8 by its upper eight bits: 65,535 is white. Depth in
millimetres is dark then.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MessageError
from taemi_edge.media.files import MOST_PIXELS
from taemi_edge.media.opencv import OpenCV

cv2: Any = OpenCV("pictures in messages")


@dataclass(frozen=True)
class Encoding:
    """How pixels lie in memory.

    Attributes:
        channels: numbers of a pixel.
        depth: bits of a number.
        code: the name of OpenCV's conversion to RGB; None for RGB itself.
    """

    channels: int
    depth: int = 8
    code: str | None = None


ENCODINGS: Final = {
    "rgb8": Encoding(3),
    "bgr8": Encoding(3, code="COLOR_BGR2RGB"),
    "8UC3": Encoding(3, code="COLOR_BGR2RGB"),
    "rgba8": Encoding(4, code="COLOR_RGBA2RGB"),
    "bgra8": Encoding(4, code="COLOR_BGRA2RGB"),
    "8UC4": Encoding(4, code="COLOR_BGRA2RGB"),
    "mono8": Encoding(1, code="COLOR_GRAY2RGB"),
    "8UC1": Encoding(1, code="COLOR_GRAY2RGB"),
    "rgb16": Encoding(3, 16),
    "bgr16": Encoding(3, 16, "COLOR_BGR2RGB"),
    "16UC3": Encoding(3, 16, "COLOR_BGR2RGB"),
    "rgba16": Encoding(4, 16, "COLOR_RGBA2RGB"),
    "bgra16": Encoding(4, 16, "COLOR_BGRA2RGB"),
    "mono16": Encoding(1, 16, "COLOR_GRAY2RGB"),
    "16UC1": Encoding(1, 16, "COLOR_GRAY2RGB"),
    "yuv422": Encoding(2, code="COLOR_YUV2RGB_UYVY"),
    "uyvy": Encoding(2, code="COLOR_YUV2RGB_UYVY"),
    "yuv422_yuy2": Encoding(2, code="COLOR_YUV2RGB_YUY2"),
    "yuyv": Encoding(2, code="COLOR_YUV2RGB_YUY2"),
    "bayer_rggb8": Encoding(1, code="COLOR_BayerRGGB2RGB"),
    "bayer_bggr8": Encoding(1, code="COLOR_BayerBGGR2RGB"),
    "bayer_gbrg8": Encoding(1, code="COLOR_BayerGBRG2RGB"),
    "bayer_grbg8": Encoding(1, code="COLOR_BayerGRBG2RGB"),
    "bayer_rggb16": Encoding(1, 16, "COLOR_BayerRGGB2RGB"),
    "bayer_bggr16": Encoding(1, 16, "COLOR_BayerBGGR2RGB"),
    "bayer_gbrg16": Encoding(1, 16, "COLOR_BayerGBRG2RGB"),
    "bayer_grbg16": Encoding(1, 16, "COLOR_BayerGRBG2RGB"),
}
#: Brightness, and below it half as many rows with the two colours by turns.
_PLANES: Final = {"nv12": "COLOR_YUV2RGB_NV12", "nv21": "COLOR_YUV2RGB_NV21"}
#: What a robot may send as well, and why it is no picture.
_REFUSED: Final = {
    "32FC1": "depth in metres is no picture: convert it to 16UC1 or mono8",
    "64FC1": "depth in metres is no picture: convert it to 16UC1 or mono8",
}
#: Colours of a mosaic come from the pixels beside: OpenCV leaves those of a smaller one as they were in memory.
_LEAST_MOSAIC = 4
#: Passes over a progressive JPEG; encoders write ten. One of 14 bytes takes 20 ms for the largest picture.
_MOST_SCANS, _SCAN = 64, b"\xff\xda"
#: Marks of JPEG before which its size does not stand, and those of the frame, where it does.
_JPEG_ALONE = {0x01, *range(0xD0, 0xD8)}
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class RawPicture:
    """A picture as a camera's driver sends it.

    Attributes:
        size_wh: in pixels.
        encoding: in the words of ROS.
        step: bytes from a row to the next one; 0 for rows that follow each other.
        is_bigendian: the order of the bytes of a number of 16 bits.
        data: the bytes.
    """

    size_wh: tuple[int, int]
    encoding: str
    step: int
    is_bigendian: bool
    data: Any


def rgb_of_raw(picture: RawPicture) -> Array:
    """Convert a raw picture to RGB, uint8 (H, W, 3).

    Raises:
        MessageError: the encoding is none that can be converted, or there are fewer bytes than pixels.

    Example:
        >>> rgb_of_raw(RawPicture((1, 1), "bgr8", 3, False, bytes([1, 2, 3]))).tolist()
        [[[3, 2, 1]]]
    """
    width, height = picture.size_wh
    _check_size(width, height)
    code = _PLANES.get(picture.encoding)
    if code is not None:
        if width % 2 or height % 2:
            raise MessageError(f"expected an even size of a picture in {picture.encoding}, got {width} x {height}")
        return _converted(_rows(picture, height * 3 // 2, width, 1), code)
    encoding = ENCODINGS.get(picture.encoding)
    if encoding is None:
        raise MessageError(_unknown(picture.encoding))
    size = encoding.depth // 8
    pixels = _rows(picture, height, width * encoding.channels, size)
    if size == 2:
        order = ">" if picture.is_bigendian else "<"
        pixels = (pixels.view(f"{order}u2") >> 8).astype(np.uint8)
    if encoding.channels > 1:
        pixels = pixels.reshape(height, width, encoding.channels)
    if picture.encoding.startswith("bayer") and min(width, height) < _LEAST_MOSAIC:
        raise MessageError(f"expected a larger picture in {picture.encoding}, got {width} x {height}")
    if encoding.channels == 2 and width % 2:
        raise MessageError(f"expected an even width of a picture in {picture.encoding}, got {width}")
    return np.ascontiguousarray(pixels) if encoding.code is None else _converted(pixels, encoding.code)


def rgb_of_compressed(data: Any, form: str) -> Array:
    """Decode a picture in JPEG, PNG or WebP to RGB, uint8 (H, W, 3).

    Args:
        data: its bytes.
        form: what the message calls it, for errors.

    Raises:
        MessageError: it is none of these, damaged, or too large.
    """
    content = memoryview(data).cast("B")
    if "compressedDepth" in form:
        raise MessageError(f"expected a picture, got {form!r:.80}: depth of this kind is no picture, map another topic")
    size_wh = _size_of(bytes(content[:64]), content)
    if size_wh is None:
        raise MessageError(f"expected a picture in JPEG, PNG or WebP, got {form or 'something else'!r:.80}")
    _check_size(*size_wh)
    if content[0] == 0xFF and bytes(content).count(_SCAN) > _MOST_SCANS:
        raise MessageError(f"expected a JPEG of up to {_MOST_SCANS} scans, got more")
    try:
        pixels: Array | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise MessageError(f"expected a whole picture, got a damaged one of {len(content):,} bytes") from error
    if pixels is None or pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise MessageError(f"expected a whole picture, got a damaged one of {len(content):,} bytes")
    return pixels


def _unknown(encoding: str) -> str:
    reason = _REFUSED.get(encoding, f"known are {', '.join([*ENCODINGS, *_PLANES])}")
    return f"expected pixels in an encoding that becomes RGB, got {encoding!r:.80}: {reason}"


def _check_size(width: int, height: int) -> None:
    if not (width > 0 and height > 0 and width * height <= MOST_PIXELS):
        raise MessageError(f"expected a picture of up to {MOST_PIXELS:,} pixels, got {width} x {height}")


def _rows(picture: RawPicture, rows: int, numbers: int, size: int) -> Array:
    """The rows of a picture without what lies between them, uint8 (rows, bytes)."""
    wanted = numbers * size
    step = picture.step or wanted
    data = np.frombuffer(picture.data, np.uint8) if not isinstance(picture.data, np.ndarray) else picture.data
    data = data.view(np.uint8)
    if step < wanted or len(data) < step * (rows - 1) + wanted:
        raise MessageError(
            f"expected {rows} rows of {wanted:,} bytes for {picture.size_wh[0]} x {picture.size_wh[1]} in "
            f"{picture.encoding}, got {len(data):,} bytes in rows of {step:,}"
        )
    if step == wanted:
        return data[: rows * step].reshape(rows, step)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(data, (rows, wanted), (step, 1), writeable=False))


def _converted(pixels: Array, code: str) -> Array:
    try:
        converted: Array = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, code))
    except cv2.error as error:
        height, width = pixels.shape[:2]
        raise MessageError(f"expected a larger picture, got one of {width} x {height}") from error
    return converted


def _size_of(head: bytes, content: memoryview) -> tuple[int, int] | None:
    """The width and the height that a picture claims; None for what is no picture that is read here."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(b"\xff\xd8\xff"):
        return _size_of_jpeg(content)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _size_of_webp(head)
    return None


def _size_of_jpeg(content: memoryview) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(content):
        if content[at] != 0xFF:
            return None
        mark = content[at + 1]
        if mark == 0xFF or mark in _JPEG_ALONE:
            at += 1 if mark == 0xFF else 2
            continue
        if mark in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _size_of_webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
