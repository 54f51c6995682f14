"""Reads media files hop by hop: the frames and the sound of each hop, on one clock that starts at 0.

Frames and samples lie where their timestamps say. Damaged packets are counted and skipped, and a stream that falls
silent does not hold the others back.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from taemi_edge.bundle.streams import AUDIO, VIDEO, AudioSpec, StreamSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.errors import MediaError
from taemi_edge.media.hops import AudioPlacer, Frame, FrameGrid, Hop, SoundPiece, is_finite, take_frames, take_sound
from taemi_edge.media.needless_pictures import NeedlessPictures
from taemi_edge.media.places import shown_place, what_is_at

#: A stream that is this far behind the others is not waited for.
MAX_SKEW_S = 5.0
#: A timestamp that leaps further ahead than this is damage, not a pause.
MAX_JUMP_S = 3600.0
#: How often in a row a demuxer may fail before the file counts as over.
MAX_STUMBLES = 20
#: No picture may be larger: 8K has 33 million pixels, and a file of 100 kB may claim 30,000 by 30,000.
MOST_PIXELS = 36_000_000
#: The same for FFmpeg, which looks at the first pictures of a file when it is opened.
LIMITS = {"max_pixels": str(MOST_PIXELS)}
#: Sound may be twice as long with its gaps as without, and this much: what is read at once fills them with silence.
_MOST_SILENCE_S = 600.0
_EPSILON_S = 1e-6


@dataclass(frozen=True)
class _Wanted:
    """What a file is read for: the frame rate of each video stream, None for all frames, and the rate of each sound."""

    frames_per_second: Mapping[str, float | None]
    sample_rates_hz: Mapping[str, int]

    @classmethod
    def of(cls, streams: Mapping[str, StreamSpec], every_frame: bool) -> _Wanted:
        videos = {name: spec for name, spec in streams.items() if isinstance(spec, VideoSpec)}
        sounds = {name: spec.sample_rate_hz for name, spec in streams.items() if isinstance(spec, AudioSpec)}
        return cls({name: None if every_frame else spec.frames_per_second for name, spec in videos.items()}, sounds)


class MediaFile:
    """A video or audio file, read once from its beginning.

    Its picture is given to every video stream of a model, and its sound to every audio stream.

    Args:
        path: any container and codec that FFmpeg reads.
        sample_rate_hz: the rate that sound is brought to, where no `streams` are given.
        frames_per_second: how many frames to keep, where no `streams` are given; None keeps all.
        streams: of the model that the file is read for, by name. Without them, hops carry the streams "video" and
            "audio".
        every_frame: keep all frames, whatever the streams need.
        lean: for a process that shares its cores with others, which read other files: decode in one thread, and leave
            out pictures that no stream looks at and no other picture needs. The frames are the same.

    Attributes:
        damaged_packets: how many packets could not be decoded so far.

    Raises:
        MediaError: missing, empty, not a media file, or without a video or audio stream that is wanted.

    Example:
        >>> from taemi_edge.parity.golden import demo_clip
        >>> with MediaFile(demo_clip()[0], 16_000, 5.0) as media:
        ...     hop = next(media.hops(0.5))
        >>> hop.end_s, [round(frame.time_s, 2) for frame in hop.pieces["video"]]
        (0.5, [0.0, 0.24, 0.4])
    """

    def __init__(
        self,
        path: Path | str,
        sample_rate_hz: int = 16_000,
        frames_per_second: float | None = None,
        *,
        streams: Mapping[str, StreamSpec] | None = None,
        every_frame: bool = False,
        lean: bool = False,
    ) -> None:
        path = Path(path)
        self.path = path
        self.damaged_packets = 0
        wanted = _Wanted({VIDEO: frames_per_second}, {AUDIO: sample_rate_hz})
        wanted = self._wanted = wanted if streams is None else _Wanted.of(streams, every_frame)
        self._container = _open(path)
        pictures = next((s for s in self._container.streams.video if not is_cover(s)), None)
        sound = next(iter(self._container.streams.audio), None)
        self.has_video, self.has_audio = pictures is not None, sound is not None
        self._video = pictures if wanted.frames_per_second else None
        self._audio = sound if wanted.sample_rates_hz else None
        if self._video is None and self._audio is None:
            self._container.close()
            raise MediaError(f"{shown_place(path)}: expected {_named(wanted)}, found {_found(pictures, sound)}")
        try:
            _prepare(path, self._video, self._audio, "NONE" if lean else "AUTO")
        except MediaError:
            self._container.close()
            raise
        self._start_s = _start_s(self._container, [s for s in (self._video, self._audio) if s is not None])
        rates = list(wanted.frames_per_second.values())
        self._grids = [FrameGrid(rate) for rate in dict.fromkeys(rates) if rate] if all(rates) else []
        self._needless: NeedlessPictures | None = None
        if lean and self._video is not None and self._video.codec_context is not None:
            self._needless = NeedlessPictures(self._container, self._video, self._grids, self._start_s)
        self._newest_picture_s = 0.0
        self._frame_gap_s = 0.0
        self._frames: deque[Frame] = deque()
        self._tracks = [_Track(rate_hz) for rate_hz in dict.fromkeys(wanted.sample_rates_hz.values())]
        self._faults: deque[tuple[float, str]] = deque()

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the sound of the first stream that has any; 16,000 Hz where none has."""
        return next(iter(self._wanted.sample_rates_hz.values()), 16_000)

    @property
    def duration_s(self) -> float | None:
        """What the container claims to last; damaged and live files claim nothing, or too much."""
        return None if self._container.duration is None else self._container.duration / av.time_base

    @property
    def length_s(self) -> float:
        """How much was decoded so far."""
        return max(self._newest_picture_s + self._frame_gap_s, self._sound_until_s)

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
            if self._needless is not None and packet.stream is self._video:
                self._needless.before(packet, self.damaged_packets > 0)
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self.damaged_packets += 1
                continue
            for frame in decoded:
                time_s = 0.0 if frame.time is None else frame.time - self._start_s
                if not -MAX_JUMP_S <= time_s <= self.length_s + MAX_JUMP_S:
                    self.damaged_packets += 1
                elif packet.stream is self._video:
                    self._add_picture(frame)
                else:
                    self._add_sound(frame)
            yield
        self._note_left_out(math.inf)
        for track in self._tracks:
            track.waiting.extend(track.placer.finish())

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
        self._note_left_out(time_s)
        self._note_picture(time_s)
        wanted_by = [grid.wants(time_s) for grid in self._grids]
        if any(wanted_by) or not self._grids:
            self._frames.append(Frame(time_s, picture))

    def _note_left_out(self, until_s: float) -> None:
        """Count the pictures that were not decoded: the file is as long with them as without."""
        for time_s in self._needless.passed(until_s) if self._needless is not None else ():
            self._note_picture(time_s)

    def _note_picture(self, time_s: float) -> None:
        if time_s > self._newest_picture_s:
            self._frame_gap_s = min(time_s - self._newest_picture_s, 1.0)
            self._newest_picture_s = time_s

    def _add_sound(self, sound: Any) -> None:
        time_s = None if sound.time is None else sound.time - self._start_s
        if not is_finite(sound):
            at_s = self._sound_until_s if time_s is None else time_s
            for track in self._tracks:
                track.leave_out(time_s, sound.samples / sound.sample_rate)
            self._faults.append((at_s, "NaN in the sound"))
            return
        for track in self._tracks:
            try:
                track.waiting.extend(track.placer.place(sound, time_s))
            except (av.FFmpegError, ValueError):  # a rate or a layout that cannot be resampled
                self.damaged_packets += 1

    @property
    def _sound_until_s(self) -> float:
        """Up to when the sound has come at every rate: resamplers hold back different amounts."""
        return min((track.placer.until_s for track in self._tracks), default=0.0)

    def _reached_s(self) -> float:
        """Up to when everything has come; a stream that lags by more than MAX_SKEW_S is not waited for."""
        reached = []
        if self._video is not None:
            reached.append(self._newest_picture_s)
        if self._audio is not None:
            reached.append(self._sound_until_s)
        return max(min(reached), max(reached) - MAX_SKEW_S)

    def _take(self, end_s: float) -> Hop:
        hop = Hop(end_s)
        frames = take_frames(self._frames, end_s)
        hop.pieces = {name: list(frames) for name in self._wanted.frames_per_second}
        sound = {track.rate_hz: take_sound(track.waiting, end_s, track.rate_hz) for track in self._tracks}
        hop.pieces |= {name: list(sound[rate_hz]) for name, rate_hz in self._wanted.sample_rates_hz.items()}
        while self._faults and self._faults[0][0] <= end_s:
            reason = self._faults.popleft()[1]
            hop.faults = dict.fromkeys(self._wanted.sample_rates_hz, reason)
        return hop


class _Track:
    """The sound of a file at one rate: what was decoded and not taken yet."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.placer = AudioPlacer(rate_hz)
        self.waiting: deque[SoundPiece] = deque()

    def leave_out(self, time_s: float | None, duration_s: float) -> None:
        """Leave a gap for sound that cannot be used."""
        self.waiting.extend(self.placer.finish())
        at_s = self.placer.until_s if time_s is None else time_s
        self.placer.skip_to(at_s + duration_s)


def _named(wanted: _Wanted) -> str:
    kinds = [name for name, of in ((VIDEO, wanted.frames_per_second), (AUDIO, wanted.sample_rates_hz)) if of]
    return f"a {' or '.join(kinds)} stream" if kinds else "no media file, since the model reads neither video nor audio"


def _found(pictures: Any, sound: Any) -> str:
    found = [name for name, stream in ((VIDEO, pictures), (AUDIO, sound)) if stream is not None]
    return f"{' and '.join(found)} alone" if found else "neither"


def _open(path: Path) -> Any:
    shown = shown_place(path)
    if not os.path.isfile(path):
        raise MediaError(f"{shown}: expected a video or audio file, found {what_is_at(path)}")
    if os.path.getsize(path) == 0:
        raise MediaError(f"{shown}: expected a video or audio file, got an empty file")
    try:
        # titles and names of tracks are written in any encoding; nobody reads them here
        return av.open(os.fspath(path), options=dict(LIMITS), metadata_errors="replace")
    except av.FFmpegError as error:
        raise MediaError(
            f"{shown}: expected a video or audio file, but FFmpeg cannot read it: {error.strerror}"
        ) from error


def _prepare(path: Path, video: Any, audio: Any, threads: str) -> None:
    """Choose the threads that the streams decode in, and refuse pictures that are too large to be held."""
    for stream in (video, audio):
        if stream is not None:
            stream.thread_type = threads
    if video is None or video.codec_context is None:
        return
    video.codec_context.options = dict(LIMITS)
    width, height = video.codec_context.width, video.codec_context.height
    if width * height > MOST_PIXELS:
        raise MediaError(
            f"{shown_place(path)}: expected pictures of up to {MOST_PIXELS:,} pixels, got {width} x {height}: make a "
            f"smaller copy of it"
        )


def is_cover(stream: Any) -> bool:
    """Whether a 'video' stream is the cover picture of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _start_s(container: Any, streams: list[Any]) -> float:
    """The time that counts as 0: MPEG-TS and recordings of live streams do not start there."""
    if container.start_time is not None:
        return float(container.start_time / av.time_base)
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None]
    return float(min(starts, default=0))


def read_samples(source: Path, sample_rate_hz: int, longest_s: float = math.inf) -> Array:
    """Read all sound of a file, with silence where it has gaps.

    Args:
        source: any file that FFmpeg reads.
        sample_rate_hz: the rate that sound is brought to.
        longest_s: how much of it is read, in seconds.

    Returns:
        Mono PCM, float32 (n,) in [-1, 1], from the beginning of the file.

    Raises:
        MediaError: see `MediaFile`; or most of it would be silence in gaps.
    """
    pieces: list[SoundPiece] = []
    with MediaFile(source, sample_rate_hz, 0.001) as media:
        for hop in media.hops(1.0):
            pieces += hop.pieces[AUDIO]
            if hop.end_s >= longest_s:
                break
        else:
            pieces += media.rest().pieces[AUDIO]
    end = max((round(p.time_s * sample_rate_hz) + len(p.values) for p in pieces), default=0)
    held = sum(len(piece.values) for piece in pieces)
    if end > 2 * held + _MOST_SILENCE_S * sample_rate_hz:
        held_s, all_s = held / sample_rate_hz, end / sample_rate_hz
        raise MediaError(
            f"{shown_place(source)}: expected the sound of one recording, got {held_s:.0f} s of it in {all_s:.0f} s: "
            f"cut the file at its gaps"
        )
    samples = np.zeros(end, np.float32)
    for piece in pieces:
        start = round(piece.time_s * sample_rate_hz)
        values = piece.values[max(0, -start) :]
        samples[max(0, start) : max(0, start) + len(values)] = values
    return samples
