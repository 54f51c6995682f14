"""Writes the video of a run with its panel beside the picture, the face's box in it and the transcript below.

`compose` puts one picture together. `AnnotatedVideo` writes a file; `AnnotatedStream` writes into any open container.

Of several video streams the first is shown, by the order of the model, that has a picture in a hop; of several audio
streams the first is heard that has sound when the video begins. A model without a video stream gets a video of its
panel alone, with one picture for each prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from taemi_edge.bundle.atomic import new_file, write_error
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Frame, Hop, SoundPiece
from taemi_edge.media.opencv import OpenCV, opencv
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.lettering import ending, write
from taemi_edge.runtime.panel import BACKGROUND, PANEL_HEIGHT, PANEL_WIDTH, TEXT, Panel
from taemi_edge.runtime.prediction import Prediction

cv2: Any = OpenCV("an annotated video")
PICTURE_HEIGHT, CAPTION_HEIGHT = PANEL_HEIGHT, 60
CAPTION_S = 4.0
#: Pictures are scaled to the panel's height, and are never shown wider or narrower than this.
_WIDEST, _NARROWEST = 1280, 120
_TIME_BASE = Fraction(1, 90_000)
_CODECS = ("libx264", "libopenh264", "mpeg4")


def picture_size_wh(image: Array) -> tuple[int, int]:
    """The size that a picture, (H, W, ...), is shown at: it keeps its shape, and its width is even.

    >>> picture_size_wh(np.zeros((1080, 1920, 3))), picture_size_wh(np.zeros((1920, 1080, 3)))
    ((854, 480), (270, 480))
    """
    scale = min(PICTURE_HEIGHT / image.shape[0], _WIDEST / image.shape[1])
    return max(2, round(image.shape[1] * scale / 2) * 2), max(1, round(image.shape[0] * scale))


def compose(
    image: Array | None, panel: Array, face: Face | None = None, caption: str = "", width: int | None = None
) -> Array:
    """Put one annotated picture together: the frame with the face's box, the panel beside it, the caption below.

    Args:
        image: the frame, RGB uint8 (H, W, 3) of any size; None shows the panel alone.
        panel: what `Panel.draw` gave.
        face: in pixels of the frame; None draws no box.
        caption: as much of its end as fits is shown.
        width: how wide the place for the frame is, an even number; by default it follows from the frame.

    Returns:
        RGB, uint8 (H, W, 3), `PICTURE_HEIGHT` + `CAPTION_HEIGHT` high.

    Example:
        >>> panel = np.zeros((480, 360, 3), np.uint8)
        >>> compose(np.zeros((240, 320, 3), np.uint8), panel, caption="so it is").shape
        (540, 1000, 3)
    """
    if image is None:
        field = np.zeros((PICTURE_HEIGHT, 0, 3), np.uint8)
    else:
        field = _picture(image, face, max(_NARROWEST, picture_size_wh(image)[0]) if width is None else width)
    canvas = np.full((PICTURE_HEIGHT + CAPTION_HEIGHT, field.shape[1] + PANEL_WIDTH, 3), BACKGROUND, np.uint8)
    canvas[:PICTURE_HEIGHT, : field.shape[1]] = field
    canvas[:PICTURE_HEIGHT, field.shape[1] :] = panel
    write(canvas, ending(caption, canvas.shape[1] - 40, 18), (20, PICTURE_HEIGHT + 37), TEXT, 18)
    return canvas


def _picture(image: Array, face: Face | None, width: int) -> Array:
    """The frame with the face's box, in the middle of a place of this width."""
    size_wh = picture_size_wh(image)
    if size_wh[0] > width:
        size_wh = (width, max(1, round(size_wh[1] * width / size_wh[0])))
    picture: Array = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR)
    if face is not None:
        scale_x, scale_y = size_wh[0] / image.shape[1], size_wh[1] / image.shape[0]
        x1, y1, x2, y2 = face.box_xyxy
        corners = (round(x1 * scale_x), round(y1 * scale_y)), (round(x2 * scale_x), round(y2 * scale_y))
        cv2.rectangle(picture, *corners, (255, 255, 255), 1, cv2.LINE_AA)
    if size_wh == (width, PICTURE_HEIGHT):
        return picture
    field = np.full((PICTURE_HEIGHT, width, 3), BACKGROUND, np.uint8)
    left, top = (width - size_wh[0]) // 2, (PICTURE_HEIGHT - size_wh[1]) // 2
    field[top : top + size_wh[1], left : left + size_wh[0]] = picture
    return field


class AnnotatedStream:
    """Draws, encodes and muxes into an open container; call `end` before the container is closed.

    Args:
        manifest: of the model whose predictions are drawn.
        frame_rate: of the video.
        words: for the caption, in the order of time.
        live: encode without delay, and let time begin with the first frame, for viewers who watch while it is made.

    Raises:
        MissingExtraError: OpenCV, which draws, is not installed.
    """

    def __init__(
        self, manifest: Manifest, frame_rate: Fraction, words: Sequence[Word] = (), *, live: bool = False
    ) -> None:
        opencv("an annotated video")
        specs = manifest.streams.values()
        self._panel = Panel(manifest.outputs, manifest.streams, manifest.synthetic)
        self._has_picture = any(isinstance(spec, VideoSpec) for spec in specs)
        self._rates_hz = {n: spec.sample_rate_hz for n, spec in manifest.streams.items() if isinstance(spec, AudioSpec)}
        #: The stream whose sound is heard: the first that has any when the video begins.
        self._heard = ""
        self._rate_hz, self._frame_rate, self._live = 0, frame_rate, live
        #: How wide the place for the picture is: the first picture decides it.
        self._width = 0
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

    def begins_with(self, hop: Hop) -> bool:
        """Whether there is anything to draw of a hop: a video of pictures begins with the first one."""
        return bool(hop.frames) or not self._has_picture

    def add(self, container: Any, hop: Hop, prediction: Prediction | None, face: Face | None) -> None:
        """Append a hop's frames and sound, drawn with the prediction that was known before it.

        Args:
            container: PyAV's, open for writing.
            hop: with the frames and the sound; of a model without a video stream, the sound alone.
            prediction: None before the first one.
            face: in the newest of the frames, where there is one.
        """
        if self._video is None:
            with_sound = [name for name in self._rates_hz if hop.pieces.get(name)]
            self._heard = next(iter([*with_sound, *self._rates_hz]), "")
            self._rate_hz = self._rates_hz.get(self._heard, 0)
        panel = self._panel.draw(prediction)
        for frame in hop.frames if self._has_picture else ():
            self._add_picture(container, frame.time_s, panel, frame, face)
        if not self._has_picture:
            self._add_picture(container, 0.0 if prediction is None else prediction.time_s, panel)
        for piece in hop.pieces.get(self._heard, []) if self._audio is not None else ():
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
        if self._rate_hz:
            self._audio = container.add_stream("aac", rate=self._rate_hz, layout="mono")

    def _add_picture(
        self, container: Any, time_s: float, panel: Array, frame: Frame | None = None, face: Face | None = None
    ) -> None:
        picture = compose(frame.image if frame else None, panel, face, self._caption(time_s), self._width or None)
        if self._video is None:
            self._width = picture.shape[1] - PANEL_WIDTH
            self._zero_s = time_s if self._live else 0.0
            self._start(container, (picture.shape[1], picture.shape[0]))
        pts = max(round((time_s - self._zero_s) / _TIME_BASE), self._last_pts + 1)
        encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
        encoded.pts, encoded.time_base = pts, _TIME_BASE
        self._last_pts = pts
        container.mux(self._video.encode(encoded))

    def _add_sound(self, container: Any, piece: SoundPiece) -> None:
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
        manifest: of the model whose predictions are drawn.
        frame_rate: of the video.
        words: for the caption, in the order of time.

    Raises:
        OutputError: it cannot be written.
        MissingExtraError: OpenCV, which draws, is not installed.
    """

    def __init__(self, file: Path, manifest: Manifest, frame_rate: Fraction, words: Sequence[Word] = ()) -> None:
        self._file = file
        self._draft = file
        self._writing = ExitStack()
        self._stream = AnnotatedStream(manifest, frame_rate, words)
        self._container: Any = None

    def say(self, words: Sequence[Word]) -> None:
        """Add words that were recognised on the way."""
        self._stream.say(words)

    def add(self, hop: Hop, prediction: Prediction | None, face: Face | None) -> None:
        """Append a hop's frames and sound, drawn with the prediction that was known before it."""
        try:
            if self._container is None:
                if not self._stream.begins_with(hop):
                    return
                self._open()
            self._stream.add(self._container, hop, prediction, face)
        except OSError as error:
            raise write_error(self._file, error) from error

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        keep = kind is None or issubclass(kind, KeyboardInterrupt)
        with self._writing as writing:
            try:
                if self._container is not None:
                    self._stream.end(self._container)
                    self._container.close()
            except OSError as failure:
                if keep:
                    raise write_error(self._file, failure) from failure
            if error is not None and not (keep and self._draft.exists()):  # Ctrl-C may come before its first byte
                writing.pop_all().__exit__(GeneratorExit, GeneratorExit(), None)  # which removes the draft

    def _open(self) -> None:
        self._draft = self._writing.enter_context(new_file(self._file))
        format_name = "matroska" if self._file.suffix.lower() == ".mkv" else "mp4"
        self._container = av.open(str(self._draft), "w", format=format_name)
