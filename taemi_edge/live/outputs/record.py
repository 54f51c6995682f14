"""Records what the runtime saw around each lost stream, as clips in the layout of a corpus.

FOLDER/raw/NNNNN.mkv                  the frames and the sound that were used, from before the loss to after it
FOLDER/raw/NNNNN-STREAM.mkv           those of further streams that show or play something else
FOLDER/series/NNNNN-STREAM.csv        the rows of a series
FOLDER/transcripts/NNNNN[-STREAM].vtt the words, where there were any
FOLDER/losses.jsonl                   which source, when, which stream and why, and which file holds which stream;
                                      `session` tells runs apart

The oldest clips are removed so that the folder keeps within its size. Clips have no labels: `taemi-edge calibrate`
takes them all the same (`taemi_edge.corpora.recorded_clips`) and compares with FP32 alone.
"""

from __future__ import annotations

import errno
import logging
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np

from taemi_edge.bundle.atomic import new_file, write_error
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import OutputError
from taemi_edge.live.config import RecordConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.media.hops import Frame, Hop, SoundPiece, Values
from taemi_edge.media.transcripts import Word, vtt_from_words

log = logging.getLogger("taemi_edge.live")

_CODECS = ("libx264", "libopenh264", "mpeg4")
_MOST_CLIP_S = 120.0


class RecordedFile(msgspec.Struct, frozen=True):
    """Where a stream of a clip lies.

    Attributes:
        file: its path from the folder on.
        start_s: when what it holds begins, in seconds from the beginning of the clip.
    """

    file: str
    start_s: float


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """A line of losses.jsonl: one clip, the presence events that it was recorded for, and the file of each stream.

    A stream of which nothing came has no file.
    """

    clip: str
    session: str
    source: str
    start_s: float
    end_s: float
    losses: tuple[PresenceEvent, ...]
    files: dict[str, RecordedFile] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Track:
    """One file of picture and sound: the streams that it holds, its frames, and its sound with the rate of it."""

    suffix: str
    streams: list[str]
    frames: list[Frame]
    sound: list[SoundPiece]
    rate_hz: int

    @property
    def start_s(self) -> float:
        return min(pieces[0].time_s for pieces in (self.frames, self.sound) if pieces)


class RecentHops:
    """The hops of the last seconds of one source.

    Args:
        seconds: how far back, from the end of the newest hop.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._results: deque[HopResult] = deque()

    def add(self, result: HopResult) -> None:
        """Keep a hop and forget those that are too old."""
        self._results.append(result)
        while self._results[0].hop.end_s <= result.hop.end_s - self._seconds:
            self._results.popleft()

    def all(self) -> list[HopResult]:
        """The hops that are kept, the oldest first."""
        return list(self._results)


class Recorder(BaseOutput):
    """Keeps the last seconds of each source in memory, and writes a clip once `after_s` have passed since a loss.

    Writing takes long: run it in a `ThreadedOutput`.

    Args:
        config: the folder, its size, and how much to keep before and after a loss.
        streams: of the model.
    """

    def __init__(self, config: RecordConfig, streams: Mapping[str, StreamSpec]) -> None:
        self._config, self._streams = config, streams
        self._folder = Path(config.folder)
        self._session = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._recent: dict[str, RecentHops] = {}
        #: By source, a clip that is not finished: its losses and its hops so far.
        self._open: dict[str, tuple[list[PresenceEvent], list[HopResult]]] = {}
        #: Clips that were written, and old ones that were removed to keep within the size.
        self.written = self.removed = 0

    def on_event(self, event: PresenceEvent) -> None:
        if event.after != "missing" or isinstance(self._streams[event.stream], TextSpec):
            return
        if event.source in self._open:
            self._open[event.source][0].append(event)
        elif event.source in self._recent:
            self._open[event.source] = ([event], self._recent[event.source].all())

    def on_hop(self, result: HopResult) -> None:
        source = result.prediction.source
        self._recent.setdefault(source, RecentHops(self._config.before_s)).add(result)
        if source not in self._open:
            return
        events, results = self._open[source]
        results.append(result)
        quiet_s = result.hop.end_s - events[-1].time_s
        if quiet_s >= self._config.after_s or result.hop.end_s - results[0].hop.end_s > _MOST_CLIP_S:
            self._finish(source)

    def close(self) -> None:
        for source in list(self._open):
            self._finish(source)

    def _finish(self, source: str) -> None:
        events, results = self._open.pop(source)
        if not any(_media(pieces) for result in results for pieces in result.hop.pieces.values()):
            return
        try:
            self._write(source, events, [result.hop for result in results])
            self._make_room()
        except (OSError, OutputError, av.FFmpegError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC
            log.error("a clip around a loss of %s is not kept: %s", source, "no space left" if full else error)

    def _write(self, source: str, events: list[PresenceEvent], hops: list[Hop]) -> None:
        start_s = _start_s(hops)
        pieces = {stream: [p for hop in hops for p in hop.pieces.get(stream, ())] for stream in self._streams}
        clip = self._next_clip()
        loss = Loss(
            clip=clip,
            session=self._session,
            source=source,
            start_s=round(start_s, 3),
            end_s=hops[-1].end_s,
            losses=tuple(events),
            files=self._write_streams(clip, pieces, start_s),
        )
        with (self._folder / "losses.jsonl").open("ab") as lines:
            lines.write(msgspec.json.encode(loss) + b"\n")
        self.written += 1
        log.info("%s: kept %.1f s around the loss of %s as %s", source, loss.end_s - start_s, events[0].stream, clip)

    def _write_streams(self, clip: str, pieces: Mapping[str, list[Any]], start_s: float) -> dict[str, RecordedFile]:
        """Write what came of each stream; gives where each of them lies."""
        files: dict[str, RecordedFile] = {}
        for track in _tracks(pieces, self._streams):
            name = f"raw/{clip}{track.suffix}.mkv"
            self._write_whole(name, partial(_write_clip, track.frames, track.sound, start_s, track.rate_hz))
            files |= dict.fromkeys(track.streams, RecordedFile(name, round(track.start_s - start_s, 3)))
        said: list[list[Word]] = []
        for stream, spec in self._streams.items():
            if isinstance(spec, SeriesSpec) and (rows := pieces[stream]):
                name = f"series/{clip}-{stream}.csv"
                self._write_whole(name, partial(_write_rows, rows, start_s))
                files[stream] = RecordedFile(name, round(float(rows[0].times_s[0]) - start_s, 3))
            elif isinstance(spec, TextSpec) and (words := [word for word in pieces[stream] if word.end_s > start_s]):
                name = f"transcripts/{clip}{f'-{stream}' if said and words != said[0] else ''}.vtt"
                if words not in said[:1]:
                    self._write_whole(name, partial(_write_words, words, start_s))
                said.append(words)
                files[stream] = RecordedFile(name, 0.0)
        return files

    def _next_clip(self) -> str:
        """The number that the next clip gets."""
        files = [*self._folder.glob("raw/*.mkv"), *self._folder.glob("series/*.csv")]
        numbers = [int(number) for file in files if (number := file.stem.partition("-")[0]).isdecimal()]
        return f"{1 + max(numbers, default=0):05d}"

    def _write_whole(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file of the folder under another name first: it appears whole or not at all."""
        file = self._folder / name
        with new_file(file) as draft:
            write(draft)

    def _make_room(self) -> None:
        """Remove the oldest clips until the folder is within its size."""
        clips: dict[str, list[Path]] = {}
        for file in sorted([*self._folder.glob("raw/*.mkv"), *self._folder.glob("series/*.csv")]):
            clips.setdefault(file.stem.partition("-")[0], []).append(file)
        total = sum(file.stat().st_size for files in clips.values() for file in files)
        for clip in sorted(clips):
            if total <= self._config.most_mib * 2**20:
                return
            total -= sum(file.stat().st_size for file in clips[clip])
            for file in clips[clip]:
                file.unlink()
            for words in [
                *self._folder.glob(f"transcripts/{clip}.vtt"),
                *self._folder.glob(f"transcripts/{clip}-*.vtt"),
            ]:
                words.unlink()
            self.removed += 1


def open_recorder(context: OutputContext) -> None:
    """Record clips around losses where the configuration has a `record` table."""
    if context.config.record is not None:
        _require_writable(Path(context.config.record.folder))
        recorder = Recorder(context.config.record, context.state.manifest.streams)
        context.add_in_thread(recorder, "recording")
        context.count("clips recorded", lambda: recorder.written)


def _require_writable(folder: Path) -> None:
    """Make the folder, and find out before the run whether files can be written there.

    Raises:
        OutputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise write_error(folder, error) from error


def _media(pieces: Sequence[Any]) -> bool:
    """Whether pieces are something else than words, and there are any."""
    return bool(pieces) and not isinstance(pieces[0], Word)


def _start_s(hops: list[Hop]) -> float:
    """The time of the first frame, sample or row."""
    first = [pieces[0] for hop in hops for pieces in hop.pieces.values() if _media(pieces)]
    return min(float(piece.times_s[0]) if isinstance(piece, Values) else piece.time_s for piece in first)


def _tracks(pieces: Mapping[str, list[Any]], streams: Mapping[str, StreamSpec]) -> Iterator[_Track]:
    """The files that hold picture and sound; the first picture and the first sound lie together.

    Streams that share a camera or a microphone are written once.
    """
    cameras = _cameras({s: pieces[s] for s, spec in streams.items() if isinstance(spec, VideoSpec) and pieces[s]})
    sounds: list[_Track] = []
    for stream, spec in streams.items():
        if isinstance(spec, AudioSpec) and (sound := pieces[stream]):
            same = [track for track in sounds if track.sound[0] is sound[0] and len(track.sound) == len(sound)]
            if same:
                same[0].streams.append(stream)
            else:
                sounds.append(_Track(f"-{stream}", [stream], [], sound, spec.sample_rate_hz))
    first = [*cameras[:1], *sounds[:1]]
    if first:
        names = [name for track in first for name in track.streams]
        yield _Track("", names, first[0].frames, first[-1].sound, first[-1].rate_hz)
    yield from (*cameras[1:], *sounds[1:])


def _cameras(videos: Mapping[str, list[Frame]]) -> list[_Track]:
    """The pictures of each camera in the order of time, all that any of its streams has used."""
    found: list[tuple[list[str], dict[int, Frame]]] = []
    for stream, frames in videos.items():
        pictures = {id(frame.picture): frame for frame in frames}
        for names, seen in found:
            if seen.keys() & pictures.keys():
                names.append(stream)
                seen.update(pictures)
                break
        else:
            found.append(([stream], pictures))
    return [
        _Track(f"-{names[0]}", names, sorted(seen.values(), key=lambda frame: frame.time_s), [], 0)
        for names, seen in found
    ]


def _write_clip(frames: list[Frame], sound: list[SoundPiece], start_s: float, rate_hz: int, file: Path) -> None:
    """Write frames in high quality at their own times, and sound without loss; a pause stays a pause."""
    with av.open(str(file), "w", format="matroska") as container:
        video = _add_video(container, frames[0]) if frames else None
        audio: Any = container.add_stream("flac", rate=rate_hz, layout="mono") if sound else None
        if video is not None:
            _write_frames(container, video, frames, start_s)
        for piece in sound:
            values = (np.clip(piece.values, -1, 1) * 32_767).astype(np.int16)[None]
            given = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            given.sample_rate, given.time_base = rate_hz, Fraction(1, rate_hz)
            given.pts = round((piece.time_s - start_s) * rate_hz)
            container.mux(audio.encode(given))
        for stream in filter(None, (video, audio)):
            container.mux(stream.encode(None))


def _write_rows(pieces: Sequence[Values], start_s: float, file: Path) -> None:
    """Write the rows of a series as CSV; `time_s` counts from the beginning of the clip."""
    channels = pieces[0].rows.shape[1]
    lines = [",".join(["time_s", *(f"c{index}" for index in range(channels))])]
    for piece in pieces:
        for time_s, row in zip(piece.times_s, piece.rows, strict=True):
            lines.append(",".join([f"{time_s - start_s:.6f}", *(f"{value:.7g}" for value in row)]))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_words(words: Sequence[Word], start_s: float, file: Path) -> None:
    """Write the words of a clip; what is said in it begins at 0."""
    moved = [Word(max(0.0, word.start_s - start_s), word.end_s - start_s, word.text) for word in words]
    file.write_text(vtt_from_words(moved), encoding="utf-8", errors="replace")


def _add_video(container: Any, first: Frame) -> Any:
    """A video stream of the size of the first frame, cut to even numbers, with times in milliseconds."""
    codec = next(name for name in _CODECS if name in av.codecs_available)
    video = container.add_stream(codec, rate=25)
    height, width = first.image.shape[:2]
    video.width, video.height, video.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
    video.codec_context.time_base = Fraction(1, 1000)
    if codec == "libx264":
        video.options = {"preset": "veryfast", "crf": "17"}
    return video


def _write_frames(container: Any, video: Any, frames: list[Frame], start_s: float) -> None:
    last = -1
    for frame in frames:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="rgb24")
        picture = picture.reformat(video.width, video.height, "yuv420p")
        last = max(last + 1, round((frame.time_s - start_s) * 1000))  # two frames never share a time
        picture.pts, picture.time_base = last, Fraction(1, 1000)
        container.mux(video.encode(picture))
