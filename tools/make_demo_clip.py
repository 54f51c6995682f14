"""Makes the clip that ships with the package: a drawn face, an espeak-ng voice and its transcript, all synthetic.

    python tools/make_demo_clip.py taemi_edge/assets

writes demo.mp4 (320x240, 12.5 frames a second, under 400 kB) and demo.vtt into the folder. Needs the `synth` extra.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from taemi_edge.taemi.synthetic.face import Expression, Look, draw_face
from taemi_edge.taemi.synthetic.voice import Speech, speak

FRAMES_PER_SECOND = Fraction(25, 2)
SIZE_WH = (320, 240)
PAUSE_S = 0.35


@dataclass(frozen=True)
class Line:
    """A sentence, how it is said, and the face that goes with it."""

    text: str
    pitch: int
    words_per_minute: int
    smile: float
    brows: float


STORY = (
    Line("You built all of this by yourself, and it works. I am really impressed.", 55, 165, 0.5, 0.6),
    Line("And then the robot said good morning to the cat! That is so funny.", 70, 185, 1.0, 0.9),
    Line("I am sorry. That must have been so hard for you.", 35, 130, -0.6, 0.4),
    Line("But we will try again tomorrow, and this time it is going to hold.", 50, 160, 0.2, -0.8),
)


def main(folder: Path) -> None:
    spoken = [speak(line.text, pitch=line.pitch, words_per_minute=line.words_per_minute) for line in STORY]
    rate_hz = spoken[0].sample_rate_hz
    samples, starts_s = join_speech(spoken, rate_hz)
    write_vtt(folder / "demo.vtt", spoken, starts_s, rate_hz)
    write_video(folder / "demo.mp4", samples, rate_hz, starts_s)
    print(f"{folder}/demo.mp4: {len(samples) / rate_hz:.1f} s, {(folder / 'demo.mp4').stat().st_size / 1000:.0f} kB")


def join_speech(spoken: list[Speech], rate_hz: int) -> tuple[Any, list[float]]:
    """One track with a pause before each line, and when each line starts."""
    pause = np.zeros(round(PAUSE_S * rate_hz), np.float32)
    pieces: list[Any] = []
    starts_s: list[float] = []
    for speech in spoken:
        pieces.append(pause)
        starts_s.append(sum(len(piece) for piece in pieces) / rate_hz)
        pieces.append(trim_silence(speech.samples))
    return np.concatenate([*pieces, pause]), starts_s


def trim_silence(samples: Any) -> Any:
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[: loud[-1] + 1]


def write_vtt(path: Path, spoken: list[Speech], starts_s: list[float], rate_hz: int) -> None:
    def clock(time_s: float) -> str:
        return f"00:{int(time_s // 60):02d}:{time_s % 60:06.3f}"

    blocks = ["WEBVTT"]
    for line, speech, start_s in zip(STORY, spoken, starts_s, strict=True):
        end_s = start_s + len(trim_silence(speech.samples)) / rate_hz
        blocks.append(f"{clock(start_s)} --> {clock(end_s)}\n{line.text}")
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def write_video(path: Path, samples: Any, rate_hz: int, starts_s: list[float]) -> None:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "27", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = *SIZE_WH, "yuv420p"
        audio = container.add_stream("aac", rate=rate_hz, layout="mono")
        audio.bit_rate = 48_000
        loudness = mouth_opening(samples, rate_hz)
        for index, opening in enumerate(loudness):
            picture = draw_face(
                expression_at(index / float(FRAMES_PER_SECOND), float(opening), starts_s), Look(), SIZE_WH
            )
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        sound.sample_rate = rate_hz
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def mouth_opening(samples: Any, rate_hz: int) -> Any:
    """How far the mouth is open in each frame: the loudness of its 80 ms."""
    step = rate_hz / float(FRAMES_PER_SECOND)
    count = int(len(samples) / step)
    loud = np.array([np.sqrt(np.mean(samples[round(i * step) : round((i + 1) * step)] ** 2)) for i in range(count)])
    return np.clip(loud / np.quantile(loud, 0.95), 0, 1)


def expression_at(time_s: float, opening: float, starts_s: list[float]) -> Expression:
    """The line's face, reached within half a second, with a blink every three seconds and a slow sway."""
    smile = brows = 0.0
    for line, start_s in zip(STORY, starts_s, strict=True):
        share = float(np.clip((time_s - start_s + 0.3) / 0.5, 0, 1))
        smile, brows = smile + (line.smile - smile) * share, brows + (line.brows - brows) * share
    blinks = time_s % 3.1 < 0.16
    return Expression(
        smile=smile,
        brows=brows,
        mouth_open=opening,
        eyes_open=0.0 if blinks else 0.75 + 0.25 * max(0.0, brows),
        tilt_deg=3.0 * np.sin(time_s * 1.1),
        shift_xy=(0.05 * np.sin(time_s * 0.7), 0.02 * np.sin(time_s * 1.6)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
