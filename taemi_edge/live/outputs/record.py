"""Records what the runtime saw around each lost stream, as clips in the layout of a corpus.

FOLDER/raw/NNNNN.mkv            the frames and the sound that were used, from before the loss to after it
FOLDER/transcripts/NNNNN.vtt    the words, where there were any
FOLDER/losses.jsonl             which source, when, which stream and why; `session` tells runs apart

The oldest clips are removed so that the folder keeps within its size. Clips have no labels: `taemi-edge calibrate`
takes them all the same and compares with FP32 alone.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np

from taemi_edge.live.config import RecordConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.media.hops import Frame, Hop
from taemi_edge.media.transcripts import Word

log = logging.getLogger("taemi_edge.live")

_CODECS = ("libx264", "libopenh264", "mpeg4")
_MOST_CLIP_S = 120.0


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """A line of losses.jsonl: one clip and the presence events that it was recorded for."""

    clip: str
    session: str
    source: str
    start_s: float
    end_s: float
    losses: tuple[PresenceEvent, ...]


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
        sample_rate_hz: the rate of the sound.
    """

    def __init__(self, config: RecordConfig, sample_rate_hz: int) -> None:
        self._config, self._rate_hz = config, sample_rate_hz
        self._folder = Path(config.folder)
        self._session = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._recent: dict[str, RecentHops] = {}
        #: By source, a clip that is not finished: its losses and its hops so far.
        self._open: dict[str, tuple[list[PresenceEvent], list[HopResult]]] = {}
        #: Clips that were written, and old ones that were removed to keep within the size.
        self.written = self.removed = 0

    def on_event(self, event: PresenceEvent) -> None:
        if event.after != "missing" or event.modality == "text":
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
        if not any(result.hop.frames or result.hop.sound for result in results):
            return
        try:
            self._write(source, events, [result.hop for result in results])
            self._make_room()
        except (OSError, av.FFmpegError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC
            log.error("a clip around a loss of %s is not kept: %s", source, "no space left" if full else error)

    def _write(self, source: str, events: list[PresenceEvent], hops: list[Hop]) -> None:
        start_s = _start_s(hops)
        clip = self._write_media(hops, start_s)
        if words := [word for hop in hops for word in hop.words if word.end_s > start_s]:
            transcripts = self._folder / "transcripts"
            transcripts.mkdir(exist_ok=True)
            (transcripts / f"{clip}.vtt").write_text(_vtt(words, start_s), encoding="utf-8")
        loss = Loss(
            clip=clip,
            session=self._session,
            source=source,
            start_s=round(start_s, 3),
            end_s=hops[-1].end_s,
            losses=tuple(events),
        )
        with (self._folder / "losses.jsonl").open("ab") as lines:
            lines.write(msgspec.json.encode(loss) + b"\n")
        self.written += 1
        log.info("%s: kept %.1f s around the loss of %s as %s", source, loss.end_s - start_s, events[0].modality, clip)

    def _write_media(self, hops: list[Hop], start_s: float) -> str:
        """Write picture and sound as the next clip of the folder; returns its name."""
        raw = self._folder / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(file.stem) for file in raw.glob("*.mkv") if file.stem.isdecimal()), default=0)
        clip = f"{number:05d}"
        draft = raw / f".draft-{clip}.mkv"
        try:
            _write_clip(draft, hops, start_s, self._rate_hz)
            draft.rename(raw / f"{clip}.mkv")
        finally:
            draft.unlink(missing_ok=True)
        return clip

    def _make_room(self) -> None:
        """Remove the oldest clips until the folder is within its size."""
        clips = sorted((self._folder / "raw").glob("*.mkv"))
        total = sum(file.stat().st_size for file in clips)
        while clips and total > self._config.most_mib * 2**20:
            oldest = clips.pop(0)
            total -= oldest.stat().st_size
            oldest.unlink()
            (self._folder / "transcripts" / f"{oldest.stem}.vtt").unlink(missing_ok=True)
            self.removed += 1


def open_recorder(context: OutputContext) -> None:
    """Record clips around losses where the configuration has a `record` table."""
    if context.config.record is not None:
        recorder = Recorder(context.config.record, context.sample_rate_hz)
        context.add_in_thread(recorder, "recording")
        context.count("clips recorded", lambda: recorder.written)


def _start_s(hops: list[Hop]) -> float:
    """The time of the first frame or sample."""
    return min([frame.time_s for hop in hops for frame in hop.frames] + [s.time_s for hop in hops for s in hop.sound])


def _write_clip(file: Path, hops: list[Hop], start_s: float, rate_hz: int) -> None:
    """Write frames in high quality at their own times, and sound without loss; a pause stays a pause."""
    frames = [frame for hop in hops for frame in hop.frames]
    samples = [piece for hop in hops for piece in hop.sound]
    with av.open(str(file), "w", format="matroska") as container:
        video = _add_video(container, frames[0]) if frames else None
        audio: Any = container.add_stream("flac", rate=rate_hz, layout="mono") if samples else None
        if video is not None:
            _write_frames(container, video, frames, start_s)
        for piece in samples:
            values = (np.clip(piece.values, -1, 1) * 32_767).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            sound.sample_rate, sound.time_base = rate_hz, Fraction(1, rate_hz)
            sound.pts = round((piece.time_s - start_s) * rate_hz)
            container.mux(audio.encode(sound))
        for stream in filter(None, (video, audio)):
            container.mux(stream.encode(None))


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


def _vtt(words: list[Word], start_s: float) -> str:
    cues = [
        f"{_stamp(max(0.0, word.start_s - start_s))} --> {_stamp(word.end_s - start_s)}\n{word.text}" for word in words
    ]
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _stamp(time_s: float) -> str:
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{seconds:06.3f}"
