"""Media files of many forms, and what a bad disk, a bad network or a bad person makes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

#: By form: the container's name in FFmpeg, the codecs of picture and sound, and how many seconds there are.
FORMS: dict[str, tuple[str, str | None, str | None]] = {
    "mp4": ("mp4", "libx264", "aac"),
    "mkv": ("matroska", "libx264", "flac"),
    "webm": ("webm", "libvpx", "libopus"),
    "ts": ("mpegts", "libx264", "aac"),
    "avi": ("avi", "mpeg4", "pcm_s16le"),
    "flv": ("flv", "libx264", "aac"),
    "wav": ("wav", None, "pcm_s16le"),
    "flac": ("flac", None, "flac"),
    "ogg": ("ogg", None, "libopus"),
    "mp3": ("mp3", None, "libmp3lame"),
    "m4a": ("ipod", None, "aac"),
    "gif": ("gif", "gif", None),
    "jpg": ("image2", "mjpeg", None),
    "png": ("image2", "png", None),
}
_FORMATS = {"gif": "rgb8", "jpg": "yuvj420p", "png": "rgb24"}
TITLE = "a title of the clip"


def write_form(form: str, folder: Path, seconds: float = 1.6) -> Path:
    """A small picture and a tone, with metadata, in a form."""
    container_name, video, audio = FORMS[form]
    file = folder / f"clip.{form}"
    options = {"update": "1"} if container_name == "image2" else {}
    with av.open(str(file), "w", format=container_name, options=options) as container:
        container.metadata.update({"title": TITLE, "artist": TITLE})
        pictures = _add_video(container, video, form) if video else None
        sounds: Any = container.add_stream(audio, rate=48_000) if audio else None
        if pictures is not None:
            for at in range(1 if container_name == "image2" else round(seconds * 10)):
                pixels = np.full((48, 64, 3), at * 15 % 255, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pictures.pix_fmt)
                frame.pts, frame.time_base = at, Fraction(1, 10)
                container.mux(pictures.encode(frame))
        if sounds is not None:
            tone = (np.sin(np.arange(round(seconds * 48_000)) / 20) * 9_000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            for piece in av.AudioResampler(sounds.format, sounds.layout, 48_000, sounds.frame_size or 1024).resample(
                frame
            ):
                container.mux(sounds.encode(piece))
        for stream in filter(None, (pictures, sounds)):
            container.mux(stream.encode(None))
    return file


def mutants(content: bytes, chance: random.Random) -> Iterator[bytes]:
    """The content with something wrong in it, without end."""
    ways = (_flipped, _cut, _moved, _sized, _untitled, _burst)
    while True:
        yield chance.choice(ways)(content, chance)


def _flipped(content: bytes, chance: random.Random) -> bytes:
    """Some bytes are others; most of them where the headers are."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 5, 20, 200))):
        reach = chance.choice((64, 600, 4000, len(content)))
        changed[chance.randrange(min(reach, len(content)))] = chance.randrange(256)
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(1, len(content))]


def _moved(content: bytes, chance: random.Random) -> bytes:
    """A piece is left out, or stands there twice."""
    start = chance.randrange(len(content))
    piece = content[start : start + chance.choice((1, 7, 188, 3000))]
    return content[:start] + piece * chance.choice((0, 2, 40)) + content[start + len(piece) :]


def _sized(content: bytes, chance: random.Random) -> bytes:
    """A number is as large, or as negative, as its bytes allow."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 3))):
        start = chance.randrange(min(len(content), chance.choice((200, 2000, len(content)))))
        changed[start : start + 4] = chance.choice(
            (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80")
        )
    return bytes(changed)


def _untitled(content: bytes, chance: random.Random) -> bytes:
    """Texts are no UTF-8."""
    odd = bytes(chance.choice((0xFF, 0xE9, 0x80, 0xC3)) for _ in TITLE)
    changed = content.replace(TITLE.encode(), odd)
    return changed if changed != content else _flipped(content, chance)


def _burst(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    length = chance.choice((16, 500, 5000))
    return content[:start] + chance.randbytes(length) + content[start + length :]


def _add_video(container: Any, codec: str, form: str) -> Any:
    stream = container.add_stream(codec, rate=10)
    stream.width, stream.height = 64, 48
    stream.pix_fmt = _FORMATS.get(form, "yuv420p")
    return stream
