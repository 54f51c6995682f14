"""The channel of a video stream: its pictures, and the boxes of what its encoder reads of them.

Which message a channel has is known with the first picture: H.264 and single images have messages of their own. So the
channel is opened then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from foxglove import Context

from taemi_edge.bundle.streams import VIDEO
from taemi_edge.bundle.values import Array
from taemi_edge.errors import MediaError
from taemi_edge.live.outputs.channels import foxglove_messages as fox
from taemi_edge.live.outputs.channels.described_run import DescribedRun, channel_metadata
from taemi_edge.live.outputs.channels.picture_encoding import PictureEncoder, PictureSettings, picture_encoder_for
from taemi_edge.live.outputs.output import HopResult
from taemi_edge.live.rare_log import RareLog
from taemi_edge.media.crops import centre_rectangle, square_around
from taemi_edge.media.hops import Frame

_log = RareLog(logging.getLogger("taemi_edge.live"))


class PictureChannel:
    """The pictures of one stream of one source.

    Args:
        run: the run as it is described.
        source: the name of the source.
        stream: the name of the stream.
        topic: where its pictures are logged.
        settings: how they are encoded.
        context: of foxglove-sdk.

    Attributes:
        spec: of the stream.
        topic: where its pictures are logged.
        channel: of foxglove-sdk; None before the first picture.
    """

    def __init__(
        self, run: DescribedRun, source: str, stream: str, topic: str, settings: PictureSettings, context: Context
    ) -> None:
        self.spec: Any = run.manifest.streams[stream]
        self.topic = topic
        self.channel: Any = None
        self._run, self._source, self._stream, self._settings, self._context = run, source, stream, settings, context
        self._encoder: PictureEncoder | None = None
        self._key_wanted = threading.Event()
        self._was_read = True

    def encoded(self, frames: Sequence[Frame]) -> Iterator[tuple[float, Any]]:
        """The time of each picture that can be used, and its message; None where nobody reads it."""
        for frame in frames:
            was_converted = "image" in frame.__dict__
            for message in self._messages(frame):
                yield frame.time_s, message
            if not was_converted:  # its pixels are of no further use: those of a long hop must not pile up
                frame.__dict__.pop("image", None)

    def want_key(self) -> None:
        """Let the next picture be one that can be read without those before it; may be called from any thread."""
        self._key_wanted.set()

    def boxes(self, result: HopResult) -> Any:
        """What the encoder reads of the newest picture of a hop, as annotations; None where no picture came."""
        frames = result.hop.pieces.get(self._stream)
        if not frames:
            return None
        return fox.image_annotations(self._run.ns(frames[-1].time_s), self._boxes_in(frames[-1], result))

    def _boxes_in(self, frame: Frame, result: HopResult) -> list[fox.Box]:
        if frame.is_crop:
            return []
        if self.spec.crop == "centre":
            left, top, width, height = centre_rectangle(frame.image.shape[:2], self.spec.size_hw)
            return [fox.Box((left, top, left + width, top + height))]
        if (face := result.faces.get(self._stream)) is None:
            return []
        left, top, side = square_around(face)
        square = (float(left), float(top), float(left + side), float(top + side))
        return [fox.Box(square, strong=False), fox.Box(face.box_xyxy, f"{face.score:.0%}")]

    def _messages(self, frame: Frame) -> list[Any]:
        """The message of a picture: one, or none where it cannot be encoded."""
        try:
            encoder = self._encoder = self._encoder or self._open(frame.image)
            if not self.channel.has_sinks():
                self._was_read = False
                return [None]
            return [self._message(encoder, frame)]
        except MediaError as error:
            _log.warning("%s: a picture of " + self._stream + " is not shown or recorded: %s", self._source, error)
            return []

    def _message(self, encoder: PictureEncoder, frame: Frame) -> Any:
        if self._key_wanted.is_set() or not self._was_read:
            self._key_wanted.clear()
            self._was_read = True
            encoder.want_key()
        encoded = encoder.encode(frame.image, frame.time_s)
        return fox.picture(self._run.ns(frame.time_s), self._stream, encoded, encoder.format)

    def _open(self, first: Array) -> PictureEncoder:
        encoder = picture_encoder_for(self._settings, first)
        kind: Any = fox.CompressedVideoChannel if encoder.is_video else fox.CompressedImageChannel
        metadata = channel_metadata(self._source, self._stream, VIDEO)
        self.channel = kind(self.topic, metadata=metadata, context=self._context)
        return encoder
