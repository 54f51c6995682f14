"""Which messages hold pictures, and pictures of them: raw, compressed one by one, or as a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from taemi_edge.errors import MessageError
from taemi_edge.media.messages.compressed_video import CODECS, VideoMessages
from taemi_edge.media.messages.content import bytes_of, is_bytes, whole_number
from taemi_edge.media.messages.pictures import RawPicture, rgb_of_compressed, rgb_of_raw
from taemi_edge.media.messages.readings import PictureReading, Reading
from taemi_edge.media.messages.shapes import Shape, Structure, shape_at
from taemi_edge.media.messages.topic_field import Path, shown_path

_RAW: tuple[str, ...] = ("width", "height", "encoding", "step", "data")
_COMPRESSED: tuple[str, ...] = ("format", "data")
#: A message of ffmpeg_image_transport: a picture of a video.
_PACKET: tuple[str, ...] = ("encoding", "data", "pts")


@dataclass(frozen=True)
class Pictures:
    """Where the picture of a message is.

    Attributes:
        paths: of the fields of it.
        names: of these fields.
        what: the kind of picture, in words.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    what: str


def choose_pictures(shape: Shape, name: str, path: Path | None) -> Pictures:
    """Choose where the pictures of messages are.

    Args:
        shape: of the messages.
        name: of their type.
        path: of a structure in them that is a picture; None for the message itself.

    Raises:
        MessageError: that is no picture.
    """
    at = path or ()
    found = shape_at(shape, at, name)
    if isinstance(found, Structure) and "sample_rate" not in found.fields and is_bytes(found.fields.get("data")):
        fields = found.fields
        for names, what in ((_RAW, "pictures"), (_PACKET, "a video"), (_COMPRESSED, "compressed pictures")):
            if all(wanted in fields for wanted in names):
                if names is _RAW and "is_bigendian" in fields:
                    names = (*names, "is_bigendian")
                return Pictures(tuple((*at, wanted) for wanted in names), names, what)
    where = f"{shown_path(at)} of {name}" if at else name
    raise MessageError(f"{where} is no picture, and the stream is a video: map a topic with pictures to it")


#: Whether a picture of this stamp is needed; of None, it has none.
Wanted: TypeAlias = Callable[[int | None], bool]


class PictureMessages:
    """Makes pictures of messages.

    Args:
        pictures: where they are in a message.
        notes: gets a sentence where something is left out.

    Attributes:
        wanted: is asked with the stamp of each picture before its pixels are made; None where all are wanted.
    """

    def __init__(self, pictures: Pictures, notes: list[str]) -> None:
        self._names, self._notes = pictures.names, notes
        self.wanted: Wanted | None = None
        self._video: VideoMessages | None = None
        self._form = ""

    def readings(self, values: list[Any], stamp: int | None) -> list[Reading]:
        """The pictures of a message.

        Raises:
            MessageError: there is no whole picture in it.
        """
        fields = dict(zip(self._names, values, strict=True))
        data = bytes_of(fields["data"])
        if "width" in fields:
            if not self._is_wanted(stamp):
                return []
            size_wh = whole_number(fields["width"]), whole_number(fields["height"])
            raw = RawPicture(
                size_wh, str(fields["encoding"]), whole_number(fields["step"]), bool(fields.get("is_bigendian")), data
            )
            return [PictureReading(stamp, rgb_of_raw(raw))]
        form = str(fields.get("format", fields.get("encoding")))
        codec = form.partition(";")[0].strip().lower()
        if codec in CODECS or "pts" in fields:
            return self._of_video(codec, data, stamp)
        return [PictureReading(stamp, rgb_of_compressed(data, form))] if self._is_wanted(stamp) else []

    def finish(self) -> list[Reading]:
        """The pictures of a video that its decoder still holds."""
        if self._video is None:
            return []
        try:
            return [PictureReading(stamp, picture) for stamp, picture in self._video.finish()]
        except MessageError:  # the last picture is not whole
            return []

    def _of_video(self, codec: str, data: Any, stamp: int | None) -> list[Reading]:
        if self._video is None or codec != self._form:
            self._video, self._form = VideoMessages(codec), codec
        was = self._video.left_out
        found = self._video.decode(data, stamp)
        if self._video.left_out == 1 != was:
            self._notes.append("the video does not begin with a whole picture: what comes before it is left out")
        return [PictureReading(at, picture) for at, picture in found if self._is_wanted(at)]

    def _is_wanted(self, stamp: int | None) -> bool:
        return self.wanted is None or self.wanted(stamp)
