"""Sound that messages hold: PCM, and MP3 frame by frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np

from taemi_edge.bundle.limits import MOST_RATE_HZ
from taemi_edge.bundle.values import Array
from taemi_edge.errors import MessageError

#: By the words of GStreamer, ROS and Foxglove: the kind of a number, and what is full scale.
FORMATS: Final = {
    "S8": ("i1", 1 << 7),
    "U8": ("u1", 1 << 7),
    "S16LE": ("<i2", 1 << 15),
    "S16BE": (">i2", 1 << 15),
    "S24_32LE": ("<i4", 1 << 23),
    "S32LE": ("<i4", 1 << 31),
    "F32LE": ("<f4", 1),
}
_FOXGLOVE: Final = {"pcm-s16": "S16LE", "pcm-f32": "F32LE"}
_MOST_CHANNELS = 64
#: Sound of a message in bytes: 20 s of two channels of 32 bits at 96 kHz. As MP3, whose samples may take 200 times as
#: much: 16 s at 128 kbit/s.
_MOST_PCM_BYTES, _MOST_MP3_BYTES = 16 * 1024 * 1024, 256 * 1024


@dataclass(frozen=True)
class SoundFormat:
    """How sound lies in messages that do not say so themselves.

    Attributes:
        rate_hz: samples a second.
        channels: that lie beside each other; they are averaged.
        sample_format: one of `FORMATS`, or "mp3".

    Raises:
        MessageError: there is no such format.
    """

    rate_hz: int = 16_000
    channels: int = 1
    sample_format: str = "S16LE"

    def __post_init__(self) -> None:
        if self.sample_format not in FORMATS and self.sample_format != "mp3":
            raise MessageError(
                f"expected sound in {', '.join(FORMATS)} or mp3, got {self.sample_format or 'no format'!r:.80}"
            )
        if not (0 < self.rate_hz <= MOST_RATE_HZ and 0 < self.channels <= _MOST_CHANNELS):
            raise MessageError(
                f"expected sound of up to {MOST_RATE_HZ:g} Hz in up to {_MOST_CHANNELS} channels, got {self.rate_hz} "
                f"Hz in {self.channels}"
            )


def parse_sound_format(text: str) -> SoundFormat:
    """The form that is named behind the question mark of a field: `rate=44100&channels=2&format=S16LE`.

    Raises:
        MessageError: there is no such form.

    Example:
        >>> parse_sound_format("rate=44100&format=mp3")
        SoundFormat(rate_hz=44100, channels=1, sample_format='mp3')
    """
    given = dict(part.partition("=")[::2] for part in text.split("&"))
    numbers = {name: given.pop(name, usual) for name, usual in (("rate", "16000"), ("channels", "1"))}
    form = given.pop("format", "S16LE")
    if given or not all(re.fullmatch(r"[0-9]{1,9}", number) for number in numbers.values()):
        raise MessageError(f"expected rate=HZ&channels=N&format={'|'.join((*FORMATS, 'mp3'))}, got {text!r:.80}")
    return SoundFormat(int(numbers["rate"]), int(numbers["channels"]), form)


def foxglove_format(form: str, rate_hz: int, channels: int) -> SoundFormat:
    """The format of a message of `foxglove.RawAudio`."""
    return SoundFormat(rate_hz, channels, _FOXGLOVE.get(form, form))


def samples_of_pcm(data: Any, form: SoundFormat) -> Array:
    """Mono samples, float32 (n,) in [-1, 1], of PCM.

    Raises:
        MessageError: there is a part of a sample, NaN, or an infinite number.

    Example:
        >>> samples_of_pcm(bytes([0, 64, 0, 192]), SoundFormat()).tolist()
        [0.5, -0.5]
    """
    letter, full = FORMATS[form.sample_format]
    kind = np.dtype(letter)
    content = memoryview(data).cast("B")
    if len(content) > _MOST_PCM_BYTES:
        raise MessageError(f"expected up to {_MOST_PCM_BYTES:,} bytes of sound in a message, got {len(content):,}")
    if len(content) % (kind.itemsize * form.channels):
        raise MessageError(
            f"expected samples of {kind.itemsize * form.channels} bytes, got {len(content):,} bytes: say the format of "
            f"the sound"
        )
    numbers = np.frombuffer(content, kind).reshape(-1, form.channels)
    samples = numbers.astype(np.float32)
    if form.sample_format == "U8":
        samples -= full
    samples /= full
    mono: Array = samples[:, 0] if form.channels == 1 else samples.mean(axis=1, dtype=np.float32)
    if kind.kind == "f" and not np.isfinite(mono).all():
        raise MessageError("expected finite samples, got NaN or an infinite number")
    return mono


def is_mp3(data: Any) -> bool:
    """Whether a piece of sound begins as a frame of MP3 does, or with a title in front of one.

    >>> is_mp3(bytes([0xFF, 0xFB, 0x90, 0x64])), is_mp3(bytes([0, 0, 1, 0]))
    (True, False)
    """
    head = bytes(memoryview(data).cast("B")[:4])
    if head.startswith(b"ID3"):
        return True
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, rate, frequency = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer == 1 and rate not in (0, 15) and frequency != 3


class Mp3Messages:
    """Decodes MP3 that comes in pieces; a frame may begin in one message and end in the next."""

    def __init__(self) -> None:
        self._context: Any = av.CodecContext.create("mp3", "r")

    def decode(self, data: Any) -> tuple[Array, int]:
        """The samples that are complete with this message, mono float32, and their rate in Hz.

        Raises:
            MessageError: it is no MP3.
        """
        if len(data) > _MOST_MP3_BYTES:
            raise MessageError(f"expected up to {_MOST_MP3_BYTES:,} bytes of MP3 in a message, got {len(data):,}")
        found: list[Array] = []
        rate_hz = 0
        try:
            for packet in self._context.parse(bytes(data)):
                packet.time_base = Fraction(1, 1000)
                for frame in self._context.decode(packet):
                    numbers = frame.to_ndarray()
                    found.append(_mono(numbers, frame))
                    rate_hz = frame.sample_rate
        except (av.FFmpegError, ValueError) as error:
            raise MessageError(f"expected sound in MP3: {getattr(error, 'strerror', None) or error}") from error
        return (np.concatenate(found) if found else np.empty(0, np.float32)), rate_hz


def _mono(numbers: Array, frame: Any) -> Array:
    values = numbers.astype(np.float32)
    if numbers.dtype.kind == "i":
        values /= -float(np.iinfo(numbers.dtype).min)
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    mono: Array = np.ascontiguousarray(values.mean(axis=0, dtype=np.float32))
    return mono
