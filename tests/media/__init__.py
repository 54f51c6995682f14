"""Small media files with known faults, made from a clip or a tone: what cameras and recorders really hand over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.bundle.values import Array
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop

SIZE_WH = (160, 120)


def tone(duration_s: float, rate_hz: int = 16_000, frequency_hz: float = 440.0, level: float = 0.5) -> Array:
    """A sine, float32 (n,)."""
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)).astype(
        np.float32
    )


def write_media(
    path: Path,
    *,
    frame_times_s: Iterable[float] | None = None,
    samples: Array | None = None,
    rate_hz: int = 16_000,
    audio_codec: str = "aac",
    video_codec: str = "libx264",
    image: Array | None = None,
) -> Path:
    """A file with a picture at each given time and mono (n,) or stereo (2, n) samples; either may be left out."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if frame_times_s is not None:
            picture = image if image is not None else moving_picture(0)
            video = container.add_stream(video_codec, rate=25)
            video.height, video.width = picture.shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 90_000)
        if samples is not None:
            layout = "stereo" if samples.ndim == 2 else "mono"
            audio = container.add_stream(audio_codec, rate=rate_hz, layout=layout)
        if video is not None:
            for index, time_s in enumerate(frame_times_s or ()):
                picture = image if image is not None else moving_picture(index)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(time_s * 90_000), Fraction(1, 90_000)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None and samples is not None:
            sound = av.AudioFrame.from_ndarray(np.atleast_2d(samples), format="fltp", layout=layout)
            sound.sample_rate = rate_hz
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path


def write_float_wav(path: Path, samples: Array, rate_hz: int = 16_000) -> Path:
    """Mono 32-bit float PCM, which may hold NaN."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate_hz, layout="mono")
        for at in range(0, len(samples), 1600):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + 1600], format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def moving_picture(index: int) -> Array:
    """Stripes that move, so that every frame differs."""
    width, height = SIZE_WH
    column = (np.arange(width) * 3 + index * 7) % 256
    return np.broadcast_to(column[None, :, None], (height, width, 3)).astype(np.uint8).copy()


def remux(source: Path, target: Path, options: dict[str, str] | None = None) -> Path:
    """The same packets in another container."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options or {}) as writer:
        streams = {s.index: writer.add_stream_from_template(s) for s in reader.streams}
        for packet in reader.demux():
            if packet.dts is None:
                continue
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)
    return target


def damage_middle(source: Path, target: Path, share: float = 0.1) -> Path:
    """The file with `share` of its bytes in the middle overwritten."""
    content = bytearray(source.read_bytes())
    start, length = len(content) // 2, int(len(content) * share)
    content[start : start + length] = np.random.default_rng(0).bytes(length)
    target.write_bytes(content)
    return target


def first_hops(video: Path, count: int = 12, streams: Mapping[str, StreamSpec] | None = None) -> list[Hop]:
    """The first hops of half a second of a clip, for the streams of a model."""
    with MediaFile(video, 16_000, 5.0, streams=streams) as media:
        return list(islice(media.hops(0.5), count))
