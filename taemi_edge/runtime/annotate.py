"""Draws predictions on a video: a bar for each intensity, a lamp for each stream, the face's box and the transcript.

`compose` draws one picture. `AnnotatedVideo` writes a file; `AnnotatedStream` writes into any open container.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np

from taemi_edge.bundle.atomic import write_error
from taemi_edge.bundle.spec import EMOTIONS, MODALITIES
from taemi_edge.bundle.values import Array
from taemi_edge.media.crops import Face
from taemi_edge.media.hops import Frame, Samples
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.prediction import Prediction

PICTURE_HEIGHT, PANEL_WIDTH, CAPTION_HEIGHT = 480, 360, 60
CAPTION_S = 4.0
_BACKGROUND, _TRACK, _TEXT, _DIM = (24, 26, 30), (52, 56, 64), (236, 238, 240), (150, 156, 164)
_BARS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233))
_LAMPS = {"live": (46, 158, 91), "stale": (217, 164, 0), "missing": (200, 69, 59), "recovering": (63, 127, 208)}
_TIME_BASE = Fraction(1, 90_000)
_CODECS = ("libx264", "libopenh264", "mpeg4")


def compose(image: Array, prediction: Prediction | None, face: Face | None, caption: str) -> Array:
    """Draw one annotated picture: the frame with the face's box, a panel beside it, a caption below.

    Args:
        image: the frame, RGB uint8 (H, W, 3).
        prediction: what the panel shows; None before the first one.
        face: in pixels of the frame; None draws no box.
        caption: as much of its end as fits is shown.

    Returns:
        RGB, uint8 (H, W, 3), `PICTURE_HEIGHT` + `CAPTION_HEIGHT` high.
    """
    scale = PICTURE_HEIGHT / image.shape[0]
    width = round(image.shape[1] * scale / 2) * 2
    canvas = np.full((PICTURE_HEIGHT + CAPTION_HEIGHT, width + PANEL_WIDTH, 3), _BACKGROUND, np.uint8)
    canvas[:PICTURE_HEIGHT, :width] = cv2.resize(image, (width, PICTURE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    if face is not None:
        x1, y1, x2, y2 = (round(edge * scale) for edge in face.box_xyxy)
        cv2.rectangle(canvas[:PICTURE_HEIGHT, :width], (x1, y1), (x2, y2), (255, 255, 255), 1, cv2.LINE_AA)
    if prediction is None:
        _write(canvas, "waiting for the first hop", (width + 24, 40), _DIM, 15)
    else:
        _draw_panel(canvas, prediction, width)
    _write(canvas, _ending(caption, width + PANEL_WIDTH - 40, 18), (20, PICTURE_HEIGHT + 37), _TEXT, 18)
    return canvas


class AnnotatedStream:
    """Draws, encodes and muxes into an open container; call `end` before the container is closed.

    Args:
        sample_rate_hz: of the sound.
        frame_rate: of the video.
        words: for the caption, in the order of time.
        live: encode without delay, and let time begin with the first frame, for viewers who watch while it is made.
    """

    def __init__(
        self, sample_rate_hz: int, frame_rate: Fraction, words: Sequence[Word] = (), *, live: bool = False
    ) -> None:
        self._rate_hz, self._frame_rate, self._live = sample_rate_hz, frame_rate, live
        self._words = list(words)
        self._video: Any = None
        self._audio: Any = None
        self._last_pts = -1
        self._sound_until = 0
        self._zero_s = 0.0

    def say(self, words: Sequence[Word]) -> None:
        """Add words for the caption; words of more than a minute before them are forgotten."""
        if words:
            shown_s = words[-1].end_s - 60.0
            self._words = [word for word in self._words if word.end_s > shown_s] + list(words)

    def add(
        self,
        container: Any,
        frames: Sequence[Frame],
        samples: Sequence[Samples],
        prediction: Prediction | None,
        face: Face | None,
    ) -> None:
        """Append a hop's frames and sound, drawn with the prediction that was known before it.

        Args:
            container: PyAV's, open for writing.
        """
        for frame in frames:
            self._add_frame(container, frame, prediction, face)
        for piece in samples if self._video is not None else ():
            self._add_sound(container, piece)

    def end(self, container: Any) -> None:
        """Write what the encoders still hold back."""
        for stream in filter(None, (self._video, self._audio)):
            container.mux(stream.encode(None))

    def _start(self, container: Any, size_wh: tuple[int, int]) -> None:
        codec = next(name for name in _CODECS if name in av.codecs_available)
        self._video = container.add_stream(codec, rate=self._frame_rate)
        self._video.width, self._video.height = size_wh
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = _TIME_BASE
        if codec == "libx264":
            self._video.options = {"preset": "veryfast", "crf": "23"}
            if self._live:
                self._video.options |= {"tune": "zerolatency", "g": "50"}
        self._audio = container.add_stream("aac", rate=self._rate_hz, layout="mono")

    def _add_frame(self, container: Any, frame: Frame, prediction: Prediction | None, face: Face | None) -> None:
        picture = compose(frame.image, prediction, face, self._caption(frame.time_s))
        if self._video is None:
            self._zero_s = frame.time_s if self._live else 0.0
            self._start(container, (picture.shape[1], picture.shape[0]))
        size_wh = (self._video.width, self._video.height)
        if picture.shape[1::-1] != size_wh:  # the resolution changed on the way
            picture = cv2.resize(picture, size_wh)
        pts = max(round((frame.time_s - self._zero_s) / _TIME_BASE), self._last_pts + 1)
        encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
        encoded.pts, encoded.time_base = pts, _TIME_BASE
        self._last_pts = pts
        container.mux(self._video.encode(encoded))

    def _add_sound(self, container: Any, piece: Samples) -> None:
        start = round((piece.time_s - self._zero_s) * self._rate_hz)
        if start > self._sound_until:
            self._encode_silence(container, start - self._sound_until)
        self._encode_sound(container, piece.values[max(0, self._sound_until - start) :])

    def _encode_silence(self, container: Any, count: int) -> None:
        """A gap, a second at a time: one of hours must not be one array."""
        while count > 0:
            self._encode_sound(container, np.zeros(min(count, self._rate_hz), np.float32))
            count -= self._rate_hz

    def _encode_sound(self, container: Any, values: Array) -> None:
        if not len(values):
            return
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(values[None]), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = self._rate_hz, self._sound_until, Fraction(1, self._rate_hz)
        self._sound_until += len(values)
        container.mux(self._audio.encode(sound))

    def _caption(self, time_s: float) -> str:
        return " ".join(word.text for word in self._words if time_s - CAPTION_S < word.start_s <= time_s)


class AnnotatedVideo:
    """Writes an annotated .mp4 or .mkv; a context manager.

    The file appears under its name once it is complete, also after Ctrl-C. After an error there is no file.

    Args:
        file: where to write it.
        sample_rate_hz: of the sound.
        frame_rate: of the video.
        words: for the caption, in the order of time.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, file: Path, sample_rate_hz: int, frame_rate: Fraction, words: Sequence[Word] = ()) -> None:
        self._file = file
        self._draft = file.with_name(f".draft-{file.name}")
        self._stream = AnnotatedStream(sample_rate_hz, frame_rate, words)
        self._container: Any = None

    def say(self, words: Sequence[Word]) -> None:
        """Add words that were recognised on the way."""
        self._stream.say(words)

    def add(
        self, frames: Sequence[Frame], samples: Sequence[Samples], prediction: Prediction | None, face: Face | None
    ) -> None:
        """Append a hop's frames and sound, drawn with the prediction that was known before it."""
        try:
            if self._container is None:
                if not frames:
                    return
                self._open()
            self._stream.add(self._container, frames, samples, prediction, face)
        except OSError as error:
            raise write_error(self._file, error) from error

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        keep = kind is None or issubclass(kind, KeyboardInterrupt)
        try:
            if self._container is not None:
                self._stream.end(self._container)
                self._container.close()
                if keep:
                    self._draft.replace(self._file)
        except OSError as failure:
            if keep:
                raise write_error(self._file, failure) from failure
        finally:
            self._draft.unlink(missing_ok=True)

    def _open(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        format_name = "matroska" if self._file.suffix.lower() == ".mkv" else "mp4"
        self._container = av.open(str(self._draft), "w", format=format_name)


def _draw_panel(canvas: Array, prediction: Prediction, left: int) -> None:
    x, right = left + 24, left + PANEL_WIDTH - 24
    _write(canvas, f"{prediction.time_s:.1f} s", (x, 36), _DIM, 15)
    if prediction.status != "ok":
        _write(canvas, prediction.status, (x + 80, 36), _LAMPS["missing"], 15)
    for row, (emotion, colour) in enumerate(zip(EMOTIONS, _BARS, strict=True)):
        y = 66 + row * 46
        value = prediction.intensities[emotion]
        _write(canvas, emotion.replace("_", " "), (x, y), _TEXT, 15)
        _write(canvas, f"{value:.2f}", (right - 34, y), _DIM, 15)
        cv2.rectangle(canvas, (x, y + 8), (right, y + 20), _TRACK, -1)
        cv2.rectangle(canvas, (x, y + 8), (x + round((right - x) * float(np.clip(value, 0, 1))), y + 20), colour, -1)
    for row, modality in enumerate(MODALITIES):
        y = 362 + row * 40
        state = prediction.presence[modality]
        cv2.circle(canvas, (x + 8, y - 5), 8, _LAMPS[state], -1, cv2.LINE_AA)
        _write(canvas, modality, (x + 28, y), _TEXT, 15)
        _write(canvas, _beginning(prediction.reason.get(modality, state), right - x - 92, 13), (x + 92, y), _DIM, 13)


def _write(canvas: Array, text: str, origin_xy: tuple[int, int], colour: tuple[int, int, int], size: int) -> None:
    cv2.putText(canvas, text, origin_xy, colour, cv2.FontFace("sans"), size, 400)


def _beginning(text: str, width: int, size: int) -> str:
    """As much of a text's beginning as fits."""
    most = _characters(width, size)
    return text if len(text) <= most else text[: most - 1] + "…"


def _ending(text: str, width: int, size: int) -> str:
    """As much of a text's end as fits, as captions roll."""
    most = _characters(width, size)
    return text if len(text) <= most else "…" + text[1 - most :]


def _characters(width: int, size: int) -> int:
    return int(width / (size * 0.56))
