"""Reads media files hop by hop: the frames and the sound of each hop, on one clock that starts at 0.

Frames and samples lie where their timestamps say. Damaged packets are counted and skipped, and a stream that falls
silent does not hold the others back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.errors import MediaError
from taemi_edge.media.hops import AudioPlacer, Frame, FrameGrid, Hop, Samples, is_finite

#: A stream that is this far behind the others is not waited for.
MAX_SKEW_S = 5.0
#: A timestamp that leaps further ahead than this is damage, not a pause.
MAX_JUMP_S = 3600.0
#: How often in a row a demuxer may fail before the file counts as over.
MAX_STUMBLES = 20
_EPSILON_S = 1e-6


class MediaFile:
    """A video or audio file, read once from its beginning.

    Args:
        path: any container and codec that FFmpeg reads.
        sample_rate_hz: the rate that sound is brought to.
        frames_per_second: how many frames to keep; None keeps all.

    Attributes:
        damaged_packets: how many packets could not be decoded so far.

    Raises:
        MediaError: missing, empty, not a media file, or without a video and audio stream.

    Example:
        >>> from taemi_edge.parity.golden import demo_clip
        >>> with MediaFile(demo_clip()[0], 16_000, 5.0) as media:
        ...     hop = next(media.hops(0.5))
        >>> hop.end_s, [round(frame.time_s, 2) for frame in hop.frames]
        (0.5, [0.0, 0.24, 0.4])
    """

    def __init__(self, path: Path | str, sample_rate_hz: int = 16_000, frames_per_second: float | None = None) -> None:
        path = Path(path)
        self.path = path
        self.damaged_packets = 0
        self._container = _open(path)
        self.sample_rate_hz = sample_rate_hz
        self._video = next((s for s in self._container.streams.video if not is_cover(s)), None)
        self._audio = next(iter(self._container.streams.audio), None)
        if self._video is None and self._audio is None:
            self._container.close()
            raise MediaError(f"{path}: expected a video or audio stream, found neither")
        for stream in (self._video, self._audio):
            if stream is not None:
                stream.thread_type = "AUTO"
        self._start_s = _start_s(self._container, [s for s in (self._video, self._audio) if s is not None])
        self._grid = FrameGrid(frames_per_second) if frames_per_second else None
        self._placer = AudioPlacer(sample_rate_hz)
        self._newest_picture_s = 0.0
        self._frame_gap_s = 0.0
        self._frames: deque[Frame] = deque()
        self._samples: deque[Samples] = deque()
        self._faults: deque[tuple[float, str]] = deque()

    @property
    def has_video(self) -> bool:
        return self._video is not None

    @property
    def has_audio(self) -> bool:
        return self._audio is not None

    @property
    def duration_s(self) -> float | None:
        """What the container claims to last; damaged and live files claim nothing, or too much."""
        return None if self._container.duration is None else self._container.duration / av.time_base

    @property
    def length_s(self) -> float:
        """How much was decoded so far."""
        return max(self._newest_picture_s + self._frame_gap_s, self._placer.until_s)

    @property
    def frame_rate(self) -> Fraction:
        """The average frame rate; for files of variable rate only a hint."""
        rate = self._video.average_rate if self._video is not None else None
        return rate if rate and 1 <= rate <= 120 else Fraction(25)

    def hops(self, hop_s: float) -> Iterator[Hop]:
        """The hops (0, hop_s], (hop_s, 2 hop_s], ... up to the last one that the file fills completely.

        Args:
            hop_s: how long a hop is, in seconds.
        """
        index = 1
        for _ in self._packets():
            while self._reached_s() >= index * hop_s + _EPSILON_S:
                yield self._take(index * hop_s)
                index += 1
        while index * hop_s <= self.length_s + 1e-3:
            yield self._take(index * hop_s)
            index += 1

    def rest(self) -> Hop:
        """The data after the last whole hop; call it after `hops` has ended."""
        return self._take(self.length_s + 1.0)

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> MediaFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _packets(self) -> Iterator[None]:
        """Decode packet after packet into the queues; a damaged one is counted and left out."""
        for packet in self._readable_packets():
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self.damaged_packets += 1
                continue
            for frame in decoded:
                if frame.time is not None and frame.time - self._start_s > self.length_s + MAX_JUMP_S:
                    self.damaged_packets += 1
                elif packet.stream is self._video:
                    self._add_picture(frame)
                else:
                    self._add_sound(frame)
            yield
        self._samples.extend(self._placer.finish())

    def _readable_packets(self) -> Iterator[Any]:
        """Packets to the end of the file; where the demuxer fails, try it again, a few times in a row."""
        streams = [s for s in (self._video, self._audio) if s is not None]
        stumbles = 0
        while stumbles < MAX_STUMBLES:
            try:
                for packet in self._container.demux(*streams):
                    stumbles = 0
                    yield packet
                return
            except av.FFmpegError:
                self.damaged_packets += 1
                stumbles += 1

    def _add_picture(self, picture: Any) -> None:
        follows_s = self._newest_picture_s + self._frame_gap_s
        time_s = follows_s if picture.time is None else picture.time - self._start_s
        if time_s > self._newest_picture_s:
            self._frame_gap_s = min(time_s - self._newest_picture_s, 1.0)
            self._newest_picture_s = time_s
        if self._grid is None or self._grid.wants(time_s):
            self._frames.append(Frame(time_s, picture))

    def _add_sound(self, sound: Any) -> None:
        time_s = None if sound.time is None else sound.time - self._start_s
        if not is_finite(sound):
            self._samples.extend(self._placer.finish())
            at_s = self._placer.until_s if time_s is None else time_s
            self._placer.skip_to(at_s + sound.samples / sound.sample_rate)
            self._faults.append((at_s, "NaN in the sound"))
            return
        self._samples.extend(self._placer.place(sound, time_s))

    def _reached_s(self) -> float:
        """Up to when everything has come; a stream that lags by more than MAX_SKEW_S is not waited for."""
        reached = []
        if self._video is not None:
            reached.append(self._newest_picture_s)
        if self._audio is not None:
            reached.append(self._placer.until_s)
        return max(min(reached), max(reached) - MAX_SKEW_S)

    def _take(self, end_s: float) -> Hop:
        hop = Hop(end_s)
        while self._frames and self._frames[0].time_s <= end_s + _EPSILON_S:
            hop.frames.append(self._frames.popleft())
        while self._samples:
            first = self._samples[0]
            inside = round((end_s - first.time_s) * self.sample_rate_hz)
            if inside <= 0:
                break
            self._samples.popleft()
            hop.samples.append(Samples(first.time_s, first.values[:inside]))
            if inside < len(first.values):
                rest = Samples(first.time_s + inside / self.sample_rate_hz, first.values[inside:])
                self._samples.appendleft(rest)
        while self._faults and self._faults[0][0] <= end_s:
            hop.audio_fault = self._faults.popleft()[1]
        return hop


def _open(path: Path) -> Any:
    if not path.is_file():
        raise MediaError(f"{path}: expected a video or audio file, found {'a folder' if path.is_dir() else 'nothing'}")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: expected a video or audio file, got an empty file")
    try:
        return av.open(str(path))
    except av.FFmpegError as error:
        raise MediaError(
            f"{path}: expected a video or audio file, but FFmpeg cannot read it: {error.strerror}"
        ) from error


def is_cover(stream: Any) -> bool:
    """Whether a 'video' stream is the cover picture of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _start_s(container: Any, streams: list[Any]) -> float:
    """The time that counts as 0: MPEG-TS and recordings of live streams do not start there."""
    if container.start_time is not None:
        return float(container.start_time / av.time_base)
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None]
    return float(min(starts, default=0))


def read_samples(source: Path, sample_rate_hz: int) -> Array:
    """Read all sound of a file, with silence where it has gaps.

    Args:
        source: any file that FFmpeg reads.
        sample_rate_hz: the rate that sound is brought to.

    Returns:
        Mono PCM, float32 (n,) in [-1, 1], from the beginning of the file.

    Raises:
        MediaError: see `MediaFile`.
    """
    pieces = []
    with MediaFile(source, sample_rate_hz, 0.001) as media:
        for hop in media.hops(1.0):
            pieces += hop.samples
        pieces += media.rest().samples
    ends = [round(p.time_s * sample_rate_hz) + len(p.values) for p in pieces]
    samples = np.zeros(max(ends, default=0), np.float32)
    for piece in pieces:
        start = round(piece.time_s * sample_rate_hz)
        values = piece.values[max(0, -start) :]
        samples[max(0, start) : max(0, start) + len(values)] = values
    return samples
