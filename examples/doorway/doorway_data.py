"""People at a door, seen and heard. The data are SYNTHETIC: figures that are drawn, and voices that are computed.

Each visit has a valence, an arousal and a dominance, each from -1 to 1, drawn at random. Picture and sound show them
with errors of their own: valence in the mouth, the light behind the door and the brightness of the voice; arousal in
the arms, the loudness and the pace; dominance in the height and the depth of the voice. So the figures of this example
show that the way works, and not what anybody feels.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

NAMES = ("valence", "arousal", "dominance")
WINDOW_S = 4.0
FRAMES_PER_SECOND = 2
SAMPLE_RATE_HZ = 16_000
SIZE = 64
#: How far a cue is off, as a standard deviation: what one stream shows badly the other one helps with.
ERROR_SEEN, ERROR_HEARD = (0.25, 0.5, 0.3), (0.5, 0.2, 0.4)

Floats = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
Cues = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Visit:
    """One visit: pictures uint8 (frames, H, W, 3) in RGB, samples float32 (n,) at 16 kHz, and three labels (3,)."""

    pictures: Pictures
    samples: Floats
    labels: Floats


def draw_visit(
    random: np.random.Generator,
    *,
    size: int = SIZE,
    frames_per_second: int = FRAMES_PER_SECOND,
    length_s: float = WINDOW_S,
) -> Visit:
    """One visit with labels that are drawn at random."""
    labels = random.uniform(-1, 1, size=3)
    seen = np.clip(labels + random.normal(size=3) * ERROR_SEEN, -1.3, 1.3)
    heard = np.clip(labels + random.normal(size=3) * ERROR_HEARD, -1.3, 1.3)
    times = np.arange(round(length_s * frames_per_second)) / frames_per_second
    look = random.uniform(40, 160, size=3), random.uniform(90, 240, size=3), random.uniform(-0.12, 0.12)
    pictures = np.stack([draw_picture(seen, float(t), look, size, random) for t in times])
    return Visit(pictures, voice(heard, length_s, random), labels.astype(np.float32))


def draw_picture(
    cues: Cues, time_s: float, look: tuple[Cues, Cues, float], size: int, random: np.random.Generator
) -> Pictures:
    """A figure in a doorway, uint8 (size, size, 3)."""
    valence, arousal, dominance = cues
    wall, clothes, aside = look
    light = np.array([75 + 40 * valence, 75, 75 - 40 * valence])
    picture = np.full((size, size, 3), wall, dtype=np.float32)
    cv2.rectangle(picture, (size // 5, size // 10), (4 * size // 5, size), light.tolist(), -1)
    tall = size * (0.42 + 0.14 * dominance)
    sway = (0.02 + 0.03 * max(arousal, -0.5)) * np.sin(5 * time_s)
    foot = np.array([size * (0.5 + aside + sway), size * 0.97])
    neck = foot - [0, 0.75 * tall]
    thick = max(1, round(0.16 * tall))
    cv2.line(picture, _whole(foot), _whole(neck), clothes.tolist(), 2 * thick, cv2.LINE_AA)
    for side in (-1, 1):
        hand = neck + np.array([side * 0.42, -0.35 * arousal + 0.1]) * tall
        cv2.line(picture, _whole(neck + [0, 0.1 * tall]), _whole(hand), clothes.tolist(), thick, cv2.LINE_AA)
    head, radius = neck - [0, 0.2 * tall], 0.2 * tall
    cv2.circle(picture, _whole(head), round(radius), (225, 180, 150), -1, cv2.LINE_AA)
    bend = np.linspace(-1, 1, 9)
    mouth = np.stack([bend * 0.55 * radius, (0.45 + 0.35 * valence * (0.5 - bend**2)) * radius], axis=1) + head
    cv2.polylines(picture, [np.rint(mouth * 16).astype(np.int32)], False, (120, 20, 30), 1, cv2.LINE_AA, 4)
    noise = random.normal(size=picture.shape) * 4
    return np.clip(picture * random.uniform(0.9, 1.05) + noise, 0, 255).astype(np.uint8)


def voice(cues: Cues, length_s: float, random: np.random.Generator) -> Floats:
    """Syllables of a harmonic tone with a pitch, a brightness, a loudness and a pace, float32 (samples,)."""
    valence, arousal, dominance = cues
    time = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pace = 2.5 + 1.2 * arousal
    phase = (time * pace + random.uniform()) % 1.0
    syllable = np.clip(np.sin(np.pi * np.minimum(phase / 0.7, 1.0)), 0, None)
    pitch = 170 * 2 ** (-0.6 * dominance + 0.3 * (0.35 - phase))
    turns = np.cumsum(pitch) / SAMPLE_RATE_HZ
    tone = sum(np.sin(2 * np.pi * k * turns) / k ** (1.4 - 0.7 * valence) for k in range(1, 13))
    loud = 0.05 * 2 ** (1.2 * arousal)
    noisy = loud * syllable * tone + random.normal(size=time.size) * 0.004
    sound: Floats = np.clip(noisy, -1, 1).astype(np.float32)
    return sound


def _whole(at: Cues) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def visits(count: int, seed: int) -> list[Visit]:
    """`count` synthetic visits."""
    random = np.random.default_rng(seed)
    return [draw_visit(random) for _ in range(count)]


def write_clip(file: Path, seed: int, length_s: float = 8.0, size: int = 240) -> Visit:
    """Write a visit as a video with sound, to be read by `taemi-edge run`."""
    import av

    visit = draw_visit(np.random.default_rng(seed), size=size, frames_per_second=10, length_s=length_s)
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"crf": "20"})
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for picture in visit.pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for start in range(0, visit.samples.size, 1024):
            frame = av.AudioFrame.from_ndarray(visit.samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, start, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return visit


def write_corpus(folder: Path, clips: int, seed: int) -> None:
    """Write visits with their labels for `calibrate` and `evaluate`: one in four is held out to judge on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [",".join(("id", "split", "camera", "microphone", *(f"feeling.{name}" for name in NAMES)))]
    for at in range(clips):
        labels = write_clip(folder / f"{at:03}.mp4", seed + at, length_s=WINDOW_S, size=120).labels
        split = "test" if at % 4 == 3 else "train"
        rows.append(",".join((f"{at:03}", split, *[f"{at:03}.mp4"] * 2, *(f"{label:.4f}" for label in labels))))
    (folder / "samples.csv").write_text("\n".join(rows) + "\n", encoding="ascii")
    (folder / "synthetic.json").write_text(
        json.dumps({"made_by": "doorway_data.py", "seed": seed, "clips": clips}), encoding="ascii"
    )


def main() -> None:
    """Write a visit to run the model on, or a corpus to calibrate it with."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="write a folder of labelled visits instead")
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    if options.corpus:
        write_corpus(options.corpus, options.clips, options.seed)
        print(f"{options.corpus}: {options.clips} synthetic visits")
        return
    file = Path("doorway.mp4")
    labels = write_clip(file, options.seed).labels
    print(f"{file}: a synthetic visit;", ", ".join(f"{n} {v:.2f}" for n, v in zip(NAMES, labels, strict=True)))


if __name__ == "__main__":
    main()
