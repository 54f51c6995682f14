"""Drawing the frames and speaking the sound of a planned synthetic clip.

The sound comes first: it gives each scene its length, and its loudness opens the mouth of the drawn face.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.taemi.synthetic.clip_plan import (
    SCENES,
    ClipPlan,
)
from taemi_edge.taemi.synthetic.face import Expression, Look, draw_empty_room, draw_face
from taemi_edge.taemi.synthetic.voice import speak

FRAMES_PER_SECOND = Fraction(10)
SIZE_WH = (192, 144)
SAMPLE_RATE_HZ = 22_050

_PAUSE_S = 0.12


def expression_of(feeling: Array) -> Expression:
    """The face of a feeling (6,): our own mapping, chosen so that no two emotions look alike."""
    admiration, amusement, determination, pain, excitement, joy = (float(value) for value in feeling)
    return Expression(
        smile=float(np.clip(1.0 * joy + 0.6 * amusement - 1.1 * pain, -1, 1)),
        brows=float(np.clip(0.8 * excitement + 0.6 * admiration - 1.1 * determination, -1, 1)),
        eyes_open=float(np.clip(0.65 + 0.5 * excitement - 0.45 * amusement - 0.2 * pain, 0.15, 1)),
        mouth_open=float(np.clip(0.5 * amusement + 0.4 * excitement, 0, 0.7)),
        tilt_deg=11.0 * pain - 13.0 * admiration,
    )


def voice_of(feeling: Array) -> dict[str, int]:
    """Pitch, words per minute and loudness of a feeling (6,), for `taemi_edge.taemi.synthetic.voice.speak`."""
    admiration, amusement, determination, pain, excitement, joy = (float(value) for value in feeling)
    return {
        "pitch": round(float(np.clip(50 + 45 * joy + 20 * excitement - 45 * determination, 0, 99))),
        "words_per_minute": round(185 * (1 + 0.40 * excitement + 0.20 * amusement - 0.30 * pain - 0.18 * admiration)),
        "loudness": round(
            float(np.clip(95 + 80 * determination + 55 * amusement - 65 * pain - 45 * admiration, 20, 200))
        ),
    }


def _ambience(scene: int, count: int, rng: np.random.Generator) -> Array:
    """The background sound of a scene, float32 (count,): clinking dishes, birds, waves, a rolling train."""
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(count)
    if scene == 0:
        sound = 0.012 * np.sin(2 * np.pi * 100 * time_s)
        for start_s in rng.uniform(0, count / SAMPLE_RATE_HZ, 6):
            after = np.clip(time_s - start_s, 0, None)
            sound += 0.06 * np.sin(2 * np.pi * rng.uniform(2200, 3800) * after) * np.exp(-after * 30) * (after > 0)
    elif scene == 1:
        chirp = np.sin(2 * np.pi * (4200 * time_s + 12 * np.sin(2 * np.pi * 9 * time_s)))
        sound = 0.035 * chirp * (np.sin(2 * np.pi * 2.3 * time_s + rng.uniform(0, 6)) > 0.3)
    elif scene == 2:
        waves = np.convolve(noise, np.ones(6) / 6, mode="same")
        sound = 0.06 * waves * (0.6 + 0.4 * np.sin(2 * np.pi * 0.6 * time_s + rng.uniform(0, 6)))
    else:
        rumble = np.convolve(noise, np.ones(120) / 120, mode="same")
        sound = 0.5 * rumble + 0.05 * noise * ((time_s * 3.3) % 1 < 0.06)
    return (1.8 * sound).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SoundTrack:
    """A clip's sound, float32 (n,) in [-1, 1], with the start of each shot and when its words are said, in seconds."""

    samples: Array
    starts_s: list[float]
    spoken_s: list[tuple[float, float]]


def speak_clip(plan: ClipPlan, rng: np.random.Generator) -> SoundTrack:
    """Speak the four lines of a plan with espeak-ng, each over the background sound of its scene.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
    """
    pieces: list[Array] = []
    starts_s, spoken_s = [], []
    pause = np.zeros(round(_PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    for shot in plan.shots:
        start_s = sum(len(piece) for piece in pieces) / SAMPLE_RATE_HZ
        voice = speak(shot.text, voice=plan.voice, **voice_of(shot.feeling)).samples
        loud = np.flatnonzero(np.abs(voice) > 0.01)
        voice = voice[loud[0] : loud[-1] + 1] if len(loud) else voice
        said = np.concatenate([pause, voice, pause])
        starts_s.append(start_s)
        spoken_s.append((start_s + _PAUSE_S, start_s + (len(pause) + len(voice)) / SAMPLE_RATE_HZ))
        pieces.append(said + _ambience(shot.scene, len(said), rng))
    samples = np.concatenate(pieces)
    for first, last in plan.gaps.get("audio", ()):
        samples[round(first * len(samples)) : round(last * len(samples))] = 0
    if "audio" in plan.bursts:
        first, last = (round(share * len(samples)) for share in plan.bursts["audio"])
        samples[first:last] += 0.25 * rng.standard_normal(last - first).astype(np.float32)
    return SoundTrack(np.clip(samples, -1, 1), starts_s, spoken_s)


def draw_frames(plan: ClipPlan, track: SoundTrack, rng: np.random.Generator) -> list[Array]:
    """Draw the frames of a plan for its sound: uint8 RGB (H, W, 3) each, `FRAMES_PER_SECOND` of them a second."""
    rate = float(FRAMES_PER_SECOND)
    speaking = _mouth_openings(track)
    sway = rng.uniform(0, 6, 2)
    frames = []
    for index, opening in enumerate(speaking):
        share, time_s = index / len(speaking), index / rate
        number = int(np.searchsorted(track.starts_s, time_s + 1e-9, side="right")) - 1
        shot = plan.shots[number]
        scene = SCENES[shot.scene]
        look = Look(plan.look.skin, plan.look.hair, plan.look.iris, plan.look.shirt, scene.wall)
        away = any(first <= share < last for first, last in plan.gaps.get("vision", ()))
        if away or "vision" in plan.lost:
            picture = draw_empty_room(look, SIZE_WH)
        else:
            picture = draw_face(_moved(expression_of(shot.feeling), opening, time_s, sway), look, SIZE_WH)
        lit = picture * np.asarray(scene.light, np.float32)
        if "vision" in plan.bursts and plan.bursts["vision"][0] <= share < plan.bursts["vision"][1]:
            lit = lit + 70 * rng.standard_normal(lit.shape).astype(np.float32)
        frames.append(lit.clip(0, 255).astype(np.uint8))
    return frames


def _mouth_openings(track: SoundTrack) -> list[float]:
    """How far speech opens the mouth in each frame, 0 to 0.45, by the loudness of the frame's sound."""
    step = SAMPLE_RATE_HZ / float(FRAMES_PER_SECOND)
    count = int(len(track.samples) / step)
    pieces = [track.samples[round(i * step) : round((i + 1) * step)] for i in range(count)]
    loudness = [float(np.sqrt(np.mean(piece**2))) for piece in pieces]
    loudest = float(np.quantile(loudness, 0.9)) + 1e-6
    return [0.45 * min(1.0, value / loudest) for value in loudness]


def _moved(shown: Expression, opening: float, time_s: float, sway: Array) -> Expression:
    """An expression at one moment: with the mouth opened by speech, a blink every 3.1 s, and a slow sway."""
    return Expression(
        smile=shown.smile,
        mouth_open=min(1.0, shown.mouth_open + opening),
        eyes_open=0.0 if (time_s + sway[0]) % 3.1 < 0.12 else shown.eyes_open,
        brows=shown.brows,
        tilt_deg=shown.tilt_deg + 1.5 * np.sin(time_s * 1.3 + sway[1]),
        shift_xy=(0.03 * np.sin(time_s * 0.9 + sway[0]), 0.02 * np.sin(time_s * 1.7 + sway[1])),
    )
