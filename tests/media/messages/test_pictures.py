"""Pixels of raw and compressed pictures."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MessageError
from taemi_edge.media.messages.pictures import ENCODINGS, RawPicture, rgb_of_compressed, rgb_of_raw

RED, GREEN, BLUE, GREY = (200, 30, 20), (40, 180, 60), (10, 50, 220), (90, 90, 90)


def picture(width: int = 12, height: int = 8) -> Array:
    """Four quarters of even colours, so that what is between two pixels is seen at their borders alone."""
    pixels = np.zeros((height, width, 3), np.uint8)
    middle, centre = height // 2, width // 2
    pixels[:middle, :centre], pixels[:middle, centre:] = RED, GREEN
    pixels[middle:, :centre], pixels[middle:, centre:] = BLUE, GREY
    return pixels


def raw(encoding: str, pixels: Array, step: int = 0, size_wh: tuple[int, int] | None = None) -> RawPicture:
    width, height = size_wh or (pixels.shape[1], pixels.shape[0])
    return RawPicture((width, height), encoding, step, False, pixels.tobytes())


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("8UC3", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
    ],
)
@pytest.mark.parametrize("gap", [0, 5])
def test_colours_lie_as_the_encoding_says(encoding: str, code: int | None, gap: int) -> None:
    wanted = picture()
    pixels = wanted if code is None else cv2.cvtColor(wanted, code)
    rows = pixels.reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, gap)), constant_values=7)
    found = rgb_of_raw(raw(encoding, padded, padded.shape[1], (wanted.shape[1], wanted.shape[0])))
    assert (found == wanted).all()


def test_the_last_row_may_end_with_its_last_pixel() -> None:
    rows = np.pad(picture().reshape(8, -1), ((0, 0), (0, 4)))
    data = rows.tobytes()[:-4]
    assert (rgb_of_raw(RawPicture((12, 8), "rgb8", rows.shape[1], False, data)) == picture()).all()


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_grey(encoding: str) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (rgb_of_raw(raw(encoding, grey)) == grey[:, :, None]).all()


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize("is_bigendian", [False, True])
def test_sixteen_bits_become_the_upper_eight(encoding: str, is_bigendian: bool) -> None:
    grey = np.array([[0, 255, 256, 65_535]], ">u2" if is_bigendian else "<u2")
    found = rgb_of_raw(RawPicture((4, 1), encoding, 8, is_bigendian, grey.tobytes()))
    assert found[0, :, 0].tolist() == [0, 0, 1, 255]


def test_sixteen_bits_of_colour() -> None:
    wide = picture().astype("<u2") * 256 + 77
    assert (rgb_of_raw(raw("bgr16", wide[:, :, ::-1])) == picture()).all()


@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_mosaic_gets_its_colours_back(order: str, bits: int) -> None:
    wanted = picture(16, 16)
    mosaic = np.zeros((16, 16), np.uint8)
    for at, colour in enumerate(order):
        row, column = divmod(at, 2)
        mosaic[row::2, column::2] = wanted[row::2, column::2, "rgb".index(colour)]
    found = rgb_of_raw(raw(f"bayer_{order}{bits}", mosaic if bits == 8 else mosaic.astype("<u2") * 256))
    for row, column in ((4, 4), (4, 12), (12, 4), (12, 12)):
        assert found[row, column].tolist() == wanted[row, column].tolist()


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("yuv422", cv2.COLOR_RGB2YUV_UYVY),
        ("uyvy", cv2.COLOR_RGB2YUV_UYVY),
        ("yuv422_yuy2", cv2.COLOR_RGB2YUV_YUY2),
        ("yuyv", cv2.COLOR_RGB2YUV_YUY2),
    ],
)
def test_brightness_and_half_the_colours(encoding: str, code: int) -> None:
    found = rgb_of_raw(raw(encoding, cv2.cvtColor(picture(), code)))
    assert np.abs(found.astype(int) - picture()).max() <= 3


@pytest.mark.parametrize(("encoding", "swapped"), [("nv12", False), ("nv21", True)])
def test_brightness_and_a_quarter_of_the_colours(encoding: str, swapped: bool) -> None:
    planes = cv2.cvtColor(picture(16, 16), cv2.COLOR_RGB2YUV_I420)
    first, second = planes[16:20].reshape(8, 8), planes[20:].reshape(8, 8)
    pair = (second, first) if swapped else (first, second)
    both = np.stack(pair, axis=-1).reshape(8, 16)
    found = rgb_of_raw(raw(encoding, np.concatenate([planes[:16], both]), size_wh=(16, 16)))
    assert np.abs(found.astype(int) - picture(16, 16)).max() <= 3


@pytest.mark.parametrize(
    ("encoding", "size_wh", "step", "length", "problem"),
    [
        ("32FC1", (2, 2), 8, 16, "depth in metres is no picture"),
        ("rgb9", (2, 2), 6, 12, "encoding that becomes RGB, got 'rgb9': known are rgb8, "),
        ("", (2, 2), 6, 12, "got ''"),
        ("rgb8", (2, 2), 6, 11, "2 rows of 6 bytes for 2 x 2 in rgb8, got 11 bytes"),
        ("rgb8", (2, 2), 5, 12, "in rows of 5"),
        ("rgb8", (0, 2), 0, 0, "up to 36,000,000 pixels, got 0 x 2"),
        ("rgb8", (1 << 31, 1 << 31), 0, 16, "up to 36,000,000 pixels"),
        ("nv12", (3, 2), 0, 9, "even size"),
        ("yuyv", (3, 2), 0, 12, "even width"),
        ("bayer_rggb8", (1, 1), 0, 1, "a larger picture"),
    ],
)
def test_what_is_no_picture_is_refused(
    encoding: str, size_wh: tuple[int, int], step: int, length: int, problem: str
) -> None:
    with pytest.raises(MessageError, match=problem):
        rgb_of_raw(RawPicture(size_wh, encoding, step, False, bytes(length)))


def test_every_encoding_gives_pictures_of_the_size_that_it_says() -> None:
    for name, encoding in ENCODINGS.items():
        data = np.random.default_rng(0).bytes(6 * 4 * encoding.channels * encoding.depth // 8)
        found = rgb_of_raw(RawPicture((6, 4), name, 0, False, data))
        assert (found.shape, found.dtype, found.flags.c_contiguous) == ((4, 6, 3), np.uint8, True), name


@pytest.mark.parametrize(("ending", "tolerance"), [(".png", 0), (".jpg", 60), (".webp", 60)])
def test_compressed_pictures(ending: str, tolerance: int) -> None:
    content = cv2.imencode(ending, cv2.cvtColor(picture(64, 64), cv2.COLOR_RGB2BGR))[1].tobytes()
    found = rgb_of_compressed(content, ending)
    assert found.shape == (64, 64, 3)
    assert np.abs(found.astype(int) - picture(64, 64))[8:24, 8:24].max() <= tolerance / 5


def test_a_grey_png_of_sixteen_bits() -> None:
    content = cv2.imencode(".png", np.full((4, 4), 0x1234, np.uint16))[1].tobytes()
    assert rgb_of_compressed(content, "mono16; png compressed")[0, 0].tolist() == [0x12] * 3


def huge_png(side: int) -> bytes:
    """A picture of one colour that is small in a file and large in memory."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((side * 3 + 1) * 8))
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        made += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return made


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (huge_png(60_000), "36,000,000 pixels, got 60000 x 60000"),
        (b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03", "36,000,000 pixels, got 65535 x 65535"),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\xff" * 6, "36,000,000 pixels, got 16777216 x 16777216"),
        (huge_png(16)[:40], "a damaged one"),
        (b"GIF89a" + bytes(20), "expected a picture in JPEG, PNG or WebP, got 'gif'"),
        (b"", "expected a picture in JPEG, PNG or WebP"),
        (b"\xff\xd8\xff", "expected a picture"),
    ],
)
def test_a_picture_that_is_damaged_or_too_large_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(MessageError, match=problem):
        rgb_of_compressed(content, "gif")


def test_a_jpeg_that_is_drawn_again_and_again_is_refused() -> None:
    """Each pass has 14 bytes and goes over the whole picture."""
    content = cv2.imencode(".jpg", picture(64, 64), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert rgb_of_compressed(content, "jpeg").shape == (64, 64, 3)
    begins, ends = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    many = content[:ends] + content[begins:ends] * 60 + content[ends:]
    with pytest.raises(MessageError, match="up to 64 scans"):
        rgb_of_compressed(many, "jpeg")


def test_depth_that_is_packed_otherwise_is_refused_by_name() -> None:
    with pytest.raises(MessageError, match="'16UC1; compressedDepth png': depth of this kind is no picture"):
        rgb_of_compressed(b"\0" * 12 + huge_png(4), "16UC1; compressedDepth png")
