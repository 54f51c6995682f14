"""Foxglove's own messages, made of what the runtime has: pictures, sound, boxes in pictures, log lines.

This module needs foxglove-sdk: import it where that was asked for alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from foxglove.channels import (
    CompressedImageChannel,
    CompressedVideoChannel,
    ImageAnnotationsChannel,
    LogChannel,
    RawAudioChannel,
)
from foxglove.messages import (
    Color,
    CompressedImage,
    CompressedVideo,
    ImageAnnotations,
    Log,
    LogLevel,
    Point2,
    PointsAnnotation,
    PointsAnnotationType,
    RawAudio,
    TextAnnotation,
    Timestamp,
)

from taemi_edge.bundle.values import Array
from taemi_edge.live.outputs.channels.described_run import NS

__all__ = [
    "Box",
    "CompressedImageChannel",
    "CompressedVideoChannel",
    "ImageAnnotationsChannel",
    "LogChannel",
    "RawAudioChannel",
    "image_annotations",
    "log_line",
    "picture",
    "raw_audio",
]

_TEXT_SIZE = 14.0


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture.

    Attributes:
        xyxy: its left, top, right and bottom, in pixels.
        label: what stands above it; "" for nothing.
        strong: whether it is drawn in full, or faintly.
    """

    xyxy: tuple[float, float, float, float]
    label: str = ""
    strong: bool = True


def _stamp(ns: int) -> Any:
    return Timestamp(*divmod(ns, NS))


def picture(ns: int, stream: str, encoded: bytes, form: str) -> Any:
    """A picture that is encoded already: H.264 as CompressedVideo, all else as CompressedImage."""
    kind = CompressedVideo if form == "h264" else CompressedImage
    return kind(timestamp=_stamp(ns), frame_id=stream, data=encoded, format=form)


def raw_audio(ns: int, samples: Array, rate_hz: int, lossless: bool) -> Any:
    """Sound as 16-bit numbers, which Foxglove plays; without loss as 32-bit floats, which it does not.

    Args:
        ns: when its first sample was taken.
        samples: mono, float32 (n,) in [-1, 1].
        rate_hz: samples a second.
        lossless: whether they stay what they are.
    """
    if lossless:
        data, form = samples.astype("<f4", copy=False).tobytes(), "pcm-f32"
    else:
        data, form = np.rint(np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes(), "pcm-s16"
    return RawAudio(timestamp=_stamp(ns), data=data, format=form, sample_rate=rate_hz, number_of_channels=1)


def image_annotations(ns: int, boxes: list[Box]) -> Any:
    """Boxes over the picture of the same time; none takes away those before."""
    lines, texts = [], []
    for box in boxes:
        x1, y1, x2, y2 = box.xyxy
        colour = Color(r=1.0, g=1.0, b=1.0, a=1.0 if box.strong else 0.4)
        corners = [Point2(x=x, y=y) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
        lines.append(
            PointsAnnotation(
                timestamp=_stamp(ns),
                type=PointsAnnotationType.LineLoop,
                points=corners,
                outline_color=colour,
                thickness=2.0,
            )
        )
        if box.label:
            place = Point2(x=x1, y=max(0.0, y1 - 4))
            text = TextAnnotation(
                timestamp=_stamp(ns), position=place, text=box.label, font_size=_TEXT_SIZE, text_color=colour
            )
            texts.append(text)
    return ImageAnnotations(timestamp=_stamp(ns), points=lines, texts=texts)


def log_line(ns: int, message: str, source: str, is_bad: bool) -> Any:
    """A line of a log: a warning where something was lost."""
    level = LogLevel.Warning if is_bad else LogLevel.Info
    return Log(timestamp=_stamp(ns), level=level, message=message, name=source)
