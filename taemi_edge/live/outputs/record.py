"""Moments in, clips of what the runtime saw around each loss out, in the layout of a corpus and within a size.

FOLDER/raw/NNNNN.mkv            the frames and the sound that were used, from before the loss to after it
FOLDER/transcripts/NNNNN.vtt    the words, where there were any
FOLDER/losses.jsonl             which source, when, which stream and why; `session` tells runs apart

Clips have no labels: `taemi-edge calibrate` takes them all the same, and judges against FP32 alone.
"""

from __future__ import annotations

import errno
import logging
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np

from taemi_edge.live.config import RecordConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.loop import Moment
from taemi_edge.live.outputs.base import QuietOutput, Recent
from taemi_edge.media.transcripts import Word

log = logging.getLogger("taemi_edge.live")

_CODECS = ("libx264", "libopenh264", "mpeg4")
_MOST_CLIP_S = 120.0


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """A line of losses.jsonl."""

    clip: str
    session: str
    source: str
    start_s: float
    end_s: float
    losses: tuple[PresenceEvent, ...]


class Recorder(QuietOutput):
    """Keeps the last seconds of each source, and writes them when a stream was lost and some time has passed."""

    def __init__(self, config: RecordConfig, sample_rate_hz: int) -> None:
        self._config, self._rate_hz = config, sample_rate_hz
        self._folder = Path(config.folder)
        self._session = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._recent: dict[str, Recent] = {}
        self._open: dict[str, tuple[list[PresenceEvent], list[Moment]]] = {}
        self.written = self.removed = 0

    def on_event(self, event: PresenceEvent) -> None:
        if event.after != "missing" or event.modality == "text":
            return
        if event.source in self._open:
            self._open[event.source][0].append(event)
        elif event.source in self._recent:
            self._open[event.source] = ([event], self._recent[event.source].all())

    def on_moment(self, moment: Moment) -> None:
        source = moment.prediction.source
        self._recent.setdefault(source, Recent(self._config.before_s)).add(moment)
        if source not in self._open:
            return
        events, moments = self._open[source]
        moments.append(moment)
        quiet_s = moment.hop.end_s - events[-1].time_s
        if quiet_s >= self._config.after_s or moment.hop.end_s - moments[0].hop.end_s > _MOST_CLIP_S:
            self._finish(source)

    def close(self) -> None:
        for source in list(self._open):
            self._finish(source)

    def _finish(self, source: str) -> None:
        events, moments = self._open.pop(source)
        if not any(moment.hop.frames or moment.hop.samples for moment in moments):
            return
        try:
            self._write(source, events, moments)
            self._make_room()
        except (OSError, av.FFmpegError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC
            log.error("a clip around a loss of %s is not kept: %s", source, "no space left" if full else error)

    def _write(self, source: str, events: list[PresenceEvent], moments: list[Moment]) -> None:
        raw, spoken = self._folder / "raw", self._folder / "transcripts"
        raw.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(file.stem) for file in raw.glob("*.mkv") if file.stem.isdecimal()), default=0)
        clip = f"{number:05d}"
        draft = raw / f".draft-{clip}.mkv"
        start_s = self._start_s(moments)
        try:
            _write_clip(draft, moments, start_s, self._rate_hz)
            draft.rename(raw / f"{clip}.mkv")
        finally:
            draft.unlink(missing_ok=True)
        if words := [word for moment in moments for word in moment.hop.words if word.end_s > start_s]:
            spoken.mkdir(exist_ok=True)
            (spoken / f"{clip}.vtt").write_text(_vtt(words, start_s), encoding="utf-8")
        loss = Loss(
            clip=clip,
            session=self._session,
            source=source,
            start_s=round(start_s, 3),
            end_s=moments[-1].hop.end_s,
            losses=tuple(events),
        )
        with (self._folder / "losses.jsonl").open("ab") as lines:
            lines.write(msgspec.json.encode(loss) + b"\n")
        self.written += 1
        log.info("%s: kept %.1f s around the loss of %s as %s", source, loss.end_s - start_s, events[0].modality, clip)

    def _start_s(self, moments: list[Moment]) -> float:
        times_s = [f.time_s for m in moments for f in m.hop.frames] + [s.time_s for m in moments for s in m.hop.samples]
        return min(times_s)

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


def _write_clip(file: Path, moments: list[Moment], start_s: float, rate_hz: int) -> None:
    """Frames in high quality where their times say, sound without loss; a pause stays a pause."""
    frames = [frame for moment in moments for frame in moment.hop.frames]
    samples = [piece for moment in moments for piece in moment.hop.samples]
    with av.open(str(file), "w", format="matroska") as container:
        video: Any = None
        if frames:
            codec = next(name for name in _CODECS if name in av.codecs_available)
            video = container.add_stream(codec, rate=25)
            height, width = frames[0].image.shape[:2]
            video.width, video.height, video.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if codec == "libx264":
                video.options = {"preset": "veryfast", "crf": "17"}
        audio: Any = container.add_stream("flac", rate=rate_hz, layout="mono") if samples else None
        last = -1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="rgb24")
            picture = picture.reformat(video.width, video.height, "yuv420p")
            last = max(last + 1, round((frame.time_s - start_s) * 1000))
            picture.pts, picture.time_base = last, Fraction(1, 1000)
            container.mux(video.encode(picture))
        for piece in samples:
            values = (np.clip(piece.values, -1, 1) * 32_767).astype(np.int16)[None]
            sound = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            sound.sample_rate, sound.time_base = rate_hz, Fraction(1, rate_hz)
            sound.pts = round((piece.time_s - start_s) * rate_hz)
            container.mux(audio.encode(sound))
        for stream in filter(None, (video, audio)):
            container.mux(stream.encode(None))


def _vtt(words: list[Word], start_s: float) -> str:
    cues = [
        f"{_stamp(max(0.0, word.start_s - start_s))} --> {_stamp(word.end_s - start_s)}\n{word.text}" for word in words
    ]
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _stamp(time_s: float) -> str:
    minutes, seconds = divmod(time_s, 60)
    return f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{seconds:06.3f}"
