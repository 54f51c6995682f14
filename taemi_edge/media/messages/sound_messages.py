"""Which messages hold sound, and the samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.content import bytes_of, is_bytes, whole_number
from taemi_edge.media.messages.readings import Reading, SoundReading
from taemi_edge.media.messages.shapes import Many, Number, Shape, Structure, shape_at
from taemi_edge.media.messages.sound import Mp3Messages, SoundFormat, foxglove_format, is_mp3, samples_of_pcm
from taemi_edge.media.messages.topic_field import Path, shown_path

_RAW: Final = ("data", "format", "sample_rate", "number_of_channels")
#: Types whose `data` is sound, and nothing in them says so.
_NAMES: Final = ("audio_common_msgs/msg/AudioData", "audio_common_msgs/AudioData")
#: The newer `audio_common_msgs`: one of these lists holds the samples, and `info` says what they are.
_LISTS: Final = {
    "int16_data": "S16LE",
    "float32_data": "F32LE",
    "int32_data": "S32LE",
    "int24_data": "S24_32LE",
    "int8_data": "S8",
    "uint8_data": "U8",
}
#: By the letter of a number in a list, its format.
_LETTERS: Final = {"h": "S16LE", "f": "F32LE", "i": "S32LE", "b": "S8"}


@dataclass(frozen=True)
class Sound:
    """Where the sound of a message is.

    Attributes:
        paths: of the fields of it.
        formats: of the lists among them, in their order; none for bytes, or where a field says it.
        what: the kind of sound, in words.
    """

    paths: tuple[Path, ...]
    formats: tuple[str, ...]
    what: str


def choose_sound(shape: Shape, name: str, path: Path | None) -> Sound:
    """Choose where the sound of messages is.

    Args:
        shape: of the messages.
        name: of their type.
        path: of a field with samples, or of a structure with sound; None for the message itself.

    Raises:
        MessageError: that is no sound.
    """
    at = path or ()
    found = shape_at(shape, at, name)
    if path is not None and isinstance(found, Many) and isinstance(found.item, Number):
        form = _LETTERS.get(found.item.letter)
        return Sound((at,), (form,) if form else (), shown_path(at))
    if path is not None and is_bytes(found):
        return Sound((at,), (), shown_path(at))
    while isinstance(found, Structure):
        fields = found.fields
        if all(wanted in fields for wanted in _RAW):
            return Sound(tuple((*at, wanted) for wanted in _RAW), (), "sound")
        if "audio_data" in fields and "info" in fields:
            return _newer(shape, name, at)
        if is_bytes(fields.get("data")) and (found.name in _NAMES or (path is not None and "width" not in fields)):
            return Sound(((*at, "data"),), (), "sound")
        if "audio" not in fields:
            break
        at, found = (*at, "audio"), fields["audio"]
    where = f"{shown_path(at)} of {name}" if at else name
    raise MessageError(f"{where} is no sound, and the stream is an audio: map a topic with sound to it")


def _newer(shape: Shape, name: str, at: Path) -> Sound:
    lists = shape_at(shape, (*at, "audio_data"), name)
    there = [kind for kind in _LISTS if isinstance(lists, Structure) and kind in lists.fields]
    says: list[Path] = [(*at, "info", "rate"), (*at, "info", "channels")]
    for wanted in says:
        shape_at(shape, wanted, name)
    paths = [*((*at, "audio_data", kind) for kind in there), *says]
    return Sound(tuple(paths), tuple(_LISTS[kind] for kind in there), "sound")


class SoundMessages:
    """Makes sound of messages.

    Args:
        sound: where it is in a message.
        form: how it lies there, where messages do not say so; None for what is usual.
    """

    def __init__(self, sound: Sound, form: SoundFormat | None) -> None:
        self._has_begun = bool(sound.formats) or form is not None
        form = form or SoundFormat()
        if len(sound.paths) == len(sound.formats) == 1:
            form = SoundFormat(form.rate_hz, form.channels, sound.formats[0])
        self._form, self._formats = form, sound.formats
        self._says_format = len(sound.paths) == len(_RAW) and not sound.formats
        self._mp3: Mp3Messages | None = Mp3Messages() if form.sample_format == "mp3" else None

    def readings(self, values: list[Any], stamp: int | None) -> list[Reading]:
        """The sound of a message.

        Raises:
            MessageError: there is no whole sample in it, or it is damaged.
        """
        if self._says_format:
            data, form, rate_hz, channels = values
            form = foxglove_format(str(form), whole_number(rate_hz), whole_number(channels))
            return self._pcm(bytes_of(data), form, stamp)
        if len(values) > 1:
            return self._newer(values, stamp)
        data = bytes_of(values[0])
        if isinstance(data, np.ndarray):
            data = np.ascontiguousarray(data).view(np.uint8)
        if not self._has_begun:
            self._has_begun = True
            self._mp3 = Mp3Messages() if is_mp3(data) else None
        if self._mp3 is None:
            return self._pcm(data, self._form, stamp)
        samples, rate_hz = self._mp3.decode(data)
        return [SoundReading(stamp, samples, rate_hz)] if len(samples) else []

    def _pcm(self, data: Any, form: SoundFormat, stamp: int | None) -> list[Reading]:
        samples = samples_of_pcm(data, form)
        return [SoundReading(stamp, samples, form.rate_hz)] if len(samples) else []

    def _newer(self, values: list[Any], stamp: int | None) -> list[Reading]:
        *lists, rate_hz, channels = values
        for numbers, kind in zip(lists, self._formats, strict=True):
            if len(numbers):
                form = SoundFormat(whole_number(rate_hz), whole_number(channels), kind)
                return self._pcm(np.ascontiguousarray(numbers).view(np.uint8), form, stamp)
        return []
