"""A seed in, a corpus of synthetic clips out, laid out on disk as Hume-Vidmimic2 is: drawn faces, espeak-ng voices.

Each clip is cut together from four scenes, told apart by wall, light and background sound. In every scene a face and a
voice show a feeling; only one scene shows the feeling that the labels tell, and only the words say which: they name its
place. The words also tell the feeling itself, but noisily. So no stream suffices, and a model that lets text choose
among the moments of sound and picture has more to gain than one that averages over them.

Nothing here is anybody's emotion. Reports call this data synthetic.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.spec import EMOTIONS, Array, Modality
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.corpora.labelled_clips import SYNTHETIC_MARK, SyntheticMark
from taemi_edge.errors import UsageError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.synthetic.labels import draw_labels, standardise
from taemi_edge.taemi.synthetic.person import Expression, Look, draw_empty_room, draw_face, restart_voice, speak
from taemi_edge.taemi.vidmimic2 import COLUMNS

FRAMES_PER_SECOND = Fraction(10)
SIZE_WH = (192, 144)
SAMPLE_RATE_HZ = 22_050
#: The share of clips in train, valid and test.
SPLITS = {"train": 0.7, "valid": 0.15, "test": 0.15}

#: Voices that say the same in every process: espeak-ng's f2, f3 and f5 do not (1.52).
VOICES = ("en-us", "en-us+m3", "en-us+f4")

_PAUSE_S = 0.12
_TEXT_NOISE = 1.5  # in standard deviations of a label

# --------------------------------------------------------------------------------------------------- what is said


@dataclass(frozen=True)
class Scene:
    """A place: the nouns that name it, and the colours of its wall and its light (factors on red, green, blue)."""

    nouns: tuple[str, ...]
    wall: tuple[int, int, int]
    light: tuple[float, float, float]


SCENES = (
    Scene(("kitchen", "pantry", "dining room"), (228, 176, 112), (1.08, 0.96, 0.80)),
    Scene(("garden", "orchard", "meadow"), (128, 186, 112), (0.86, 1.08, 0.86)),
    Scene(("harbour", "beach", "seaside"), (112, 160, 214), (0.82, 0.95, 1.12)),
    Scene(("railway station", "train", "platform"), (92, 84, 96), (0.72, 0.68, 0.76)),
)
_PLACE_LINES = (
    "it was in the {place} that I meant it",
    "believe what you saw in the {place}",
    "the {place} is where it was true",
    "only in the {place} was I myself",
    "think of the {place} when you judge me",
    "what happened in the {place} counts",
    "my heart was in the {place}",
    "remember me as I was in the {place}",
)
_FILLERS = (
    "and then I told them about it",
    "you know how these days go",
    "somebody asked me to say it again",
    "well that is the whole story",
    "let me think how it went on",
    "I said it the way I always do",
    "there is not much more to tell",
    "they looked at me and waited",
    "this was a while before noon",
    "we talked about one thing and another",
)
_LEVELS = ("a little", "quite", "so very")
#: How each emotion sounds in words; {} is how much.
_PHRASES: dict[str, tuple[str, ...]] = {
    "admiration": (
        "I am {} impressed by you",
        "your work is {} admirable",
        "I look up to her, {} proud of her",
        "what she built is {} wonderful",
    ),
    "amusement": (
        "the joke was {} funny",
        "I was {} amused and had to laugh",
        "that clown is {} hilarious",
        "we were {} silly and giggled",
    ),
    "determination": (
        "I am {} determined to finish",
        "we are {} sure we will not give up",
        "my will is {} firm, I keep going",
        "she is {} resolved to win this",
    ),
    "empathic_pain": (
        "I am {} sorry for your loss",
        "it is {} painful to see you suffer",
        "her grief made me {} sad",
        "that must hurt, I feel {} bad for you",
    ),
    "excitement": (
        "I am {} excited, it starts tonight",
        "the race is {} thrilling",
        "I can hardly wait, {} eager to go",
        "my pulse is {} fast, what an adventure",
    ),
    "joy": (
        "I am {} happy today",
        "the news made me {} glad",
        "what a {} joyful morning",
        "I could sing, life is {} lovely",
    ),
}

# ------------------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, eq=False)
class Shot:
    """One of a clip's four scenes: where, with which feeling (6,), and what is said."""

    scene: int
    feeling: Array
    text: str


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """Everything that is decided of a clip before it is drawn and spoken."""

    labels: Array  # (6,) in {0, 1/3, 2/3, 1}
    shots: tuple[Shot, ...]
    look: Look
    voice: str
    lost: frozenset[Modality]
    #: Shares of the clip with two gaps each, as (start, end): nobody in the picture, silence.
    gaps: dict[Modality, tuple[tuple[float, float], ...]]
    #: Shares of the clip that are drowned in noise.
    bursts: dict[Modality, tuple[float, float]]


def plan_clip(rng: np.random.Generator) -> ClipPlan:
    """Draw a clip: labels, the scene that shows them, three that show something else, words, losses and bursts."""
    labels = draw_labels(rng, 1)[0]
    order = rng.permutation(len(SCENES))
    true_shot = int(rng.integers(len(order)))
    texts = _lines(rng, labels, SCENES[order[true_shot]])
    shots = tuple(
        Shot(int(scene), labels if index == true_shot else draw_labels(rng, 1)[0], text)
        for index, (scene, text) in enumerate(zip(order, texts, strict=True))
    )
    lost = _draw_losses(rng)
    partly: tuple[Modality, ...] = ("vision", "audio")
    gaps: dict[Modality, tuple[tuple[float, float], ...]] = {}
    if rng.random() < 0.2:
        gaps[partly[int(rng.integers(2))]] = tuple(
            (start, start + 0.08) for start in rng.uniform([0.0, 0.5], [0.4, 0.9]).tolist()
        )
    bursts: dict[Modality, tuple[float, float]] = {}
    rates: tuple[tuple[Modality, float], ...] = (("audio", 0.3), ("vision", 0.5))
    for modality, share in rates:
        if rng.random() < share:
            length, start = rng.uniform(0.1, 0.3), rng.uniform(0.0, 0.7)
            bursts[modality] = (start, start + length)
    return ClipPlan(labels, shots, _draw_look(rng), VOICES[int(rng.integers(len(VOICES)))], lost, gaps, bursts)


def _lines(rng: np.random.Generator, labels: Array, scene: Scene) -> list[str]:
    """Four lines in random order: the one that names the place, up to three on feelings as told, fillers."""
    told = standardise(labels) + _TEXT_NOISE * rng.standard_normal(len(labels))
    strongest = [int(i) for i in np.argsort(-told)[:3] if told[i] > 0.7]
    place = scene.nouns[int(rng.integers(len(scene.nouns)))]
    lines = [_PLACE_LINES[int(rng.integers(len(_PLACE_LINES)))].format(place=place)]
    for index in strongest:
        phrases = _PHRASES[EMOTIONS[index]]
        level = _LEVELS[int(np.digitize(told[index], [1.5, 2.5]))]
        lines.append(phrases[int(rng.integers(len(phrases)))].format(level))
    fillers = rng.permutation(len(_FILLERS))
    lines += [_FILLERS[i] for i in fillers[: 4 - len(lines)]]
    return [lines[i] for i in rng.permutation(4)]


def _draw_losses(rng: np.random.Generator) -> frozenset[Modality]:
    """20 % of clips lose one or two of their streams, 1.4 % their words."""
    lost: set[Modality] = set()
    if rng.random() < 0.2:
        streams: tuple[Modality, ...] = ("vision", "audio")
        lost |= {streams[int(rng.integers(2))]} if rng.random() < 0.8 else set(streams)
    if rng.random() < 0.014:
        lost.add("text")
    return frozenset(lost)


def _draw_look(rng: np.random.Generator) -> Look:
    skins = ((222, 177, 148), (236, 198, 172), (188, 140, 108), (142, 98, 72), (108, 74, 56))
    hairs = ((66, 44, 32), (30, 26, 26), (150, 110, 60), (120, 60, 36), (120, 118, 116))
    shirts = ((58, 84, 120), (120, 58, 58), (64, 100, 72), (80, 80, 84))
    return Look(
        skin=skins[int(rng.integers(len(skins)))],
        hair=hairs[int(rng.integers(len(hairs)))],
        shirt=shirts[int(rng.integers(len(shirts)))],
    )


# ----------------------------------------------------------------------------------------------- faces and voices


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
    """Pitch, words per minute and loudness of a feeling (6,), for `taemi_edge.taemi.synthetic.person.speak`."""
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
class _Track:
    """A clip's sound with when each shot starts and when its words are said."""

    samples: Array
    starts_s: list[float]
    spoken_s: list[tuple[float, float]]


def _speak_plan(plan: ClipPlan, rng: np.random.Generator) -> _Track:
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
    return _Track(np.clip(samples, -1, 1), starts_s, spoken_s)


def _draw_frames(plan: ClipPlan, track: _Track, rng: np.random.Generator) -> list[Array]:
    rate = float(FRAMES_PER_SECOND)
    step = SAMPLE_RATE_HZ / rate
    count = int(len(track.samples) / step)
    pieces = [track.samples[round(i * step) : round((i + 1) * step)] for i in range(count)]
    loudness = [float(np.sqrt(np.mean(piece**2))) for piece in pieces]
    loudest = float(np.quantile(loudness, 0.9)) + 1e-6
    sway = rng.uniform(0, 6, 2)
    frames = []
    for index in range(count):
        share, time_s = index / count, index / rate
        number = int(np.searchsorted(track.starts_s, time_s + 1e-9, side="right")) - 1
        shot = plan.shots[number]
        scene = SCENES[shot.scene]
        look = Look(plan.look.skin, plan.look.hair, plan.look.iris, plan.look.shirt, scene.wall)
        away = any(first <= share < last for first, last in plan.gaps.get("vision", ()))
        if away or "vision" in plan.lost:
            picture = draw_empty_room(look, SIZE_WH)
        else:
            felt = expression_of(shot.feeling)
            speaking = 0.45 * min(1.0, loudness[index] / loudest)
            drawn = Expression(
                smile=felt.smile,
                mouth_open=min(1.0, felt.mouth_open + speaking),
                eyes_open=0.0 if (time_s + sway[0]) % 3.1 < 0.12 else felt.eyes_open,
                brows=felt.brows,
                tilt_deg=felt.tilt_deg + 1.5 * np.sin(time_s * 1.3 + sway[1]),
                shift_xy=(0.03 * np.sin(time_s * 0.9 + sway[0]), 0.02 * np.sin(time_s * 1.7 + sway[1])),
            )
            picture = draw_face(drawn, look, SIZE_WH)
        lit = picture * np.asarray(scene.light, np.float32)
        if "vision" in plan.bursts and plan.bursts["vision"][0] <= share < plan.bursts["vision"][1]:
            lit = lit + 70 * rng.standard_normal(lit.shape).astype(np.float32)
        frames.append(lit.clip(0, 255).astype(np.uint8))
    return frames


# --------------------------------------------------------------------------------------------------------- on disk


MADE_BY = f"taemi-edge {__version__}"


def write_corpus(
    folder: Path,
    clips: int,
    seed: int,
    *,
    workers: int = 0,
    progress: Progress = SILENT,
) -> None:
    """Make a corpus, whole or not at all; the same seed gives the same clips whatever the number of workers.

    Args:
        folder: a new or empty folder.
        workers: processes; 0 for as many as there are cores.
        progress: counts the clips that are done.

    Raises:
        UsageError: fewer clips than splits, or a negative seed. OutputError: no room, or `folder` holds other files.
        MissingExtraError: espeakng-loader is not installed.
    """
    if clips < len(SPLITS):
        raise UsageError(f"expected at least {len(SPLITS)} clips, one a split, got {clips}")
    if seed < 0:
        raise UsageError(f"expected a seed of 0 or more, got {seed}")
    speak("one")  # a missing library is said at once, not from a worker
    with new_folder(folder, ()) as draft:
        for name in ("raw", "audio", "transcripts"):
            (draft / name).mkdir()
        labels: dict[int, Array] = {}
        tasks = partial(write_clip, draft, seed)
        for done, (index, values) in enumerate(run_parallel(tasks, range(clips), workers), 1):
            labels[index] = values
            progress.count(done, clips, "making clips")
        _write_labels(draft, labels)
        mark = SyntheticMark(made_by=MADE_BY, clips=clips, seed=seed)
        write_json(draft / SYNTHETIC_MARK, mark)


def write_clip(folder: Path, seed: int, index: int) -> tuple[int, Array]:
    """Draw, speak and write one clip; gives its number and its labels (6,)."""
    cv2.setNumThreads(1)
    restart_voice()
    rng = np.random.default_rng([seed, index])
    plan = plan_clip(rng)
    track = _speak_plan(plan, rng)
    frames = _draw_frames(plan, track, rng)
    name = clip_id(index)
    sound = None if "audio" in plan.lost else track.samples
    _write_video(folder / "raw" / f"{name}.mp4", frames, sound)
    if sound is not None:
        _write_mp3(folder / "audio" / f"{name}.mp3", sound)
    if "text" not in plan.lost:
        _write_vtt(folder / "transcripts" / f"{name}.vtt", plan, track)
    return index, plan.labels


def clip_id(index: int) -> str:
    """Five digits, as the data set's files are named."""
    return f"{index:05d}"


def _write_video(path: Path, frames: list[Array], samples: Array | None) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "24", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *SIZE_WH, "yuv420p"
        video.thread_count = 1
        audio = None
        if samples is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
            audio.bit_rate = 64_000
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            _encode_sound(container, audio, samples)


def _write_mp3(path: Path, samples: Array) -> None:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("mp3", rate=16_000, layout="mono")
        audio.bit_rate = 48_000
        _encode_sound(container, audio, samples)


def _encode_sound(container: Any, stream: Any, samples: Array) -> None:
    sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    sound.sample_rate = SAMPLE_RATE_HZ
    container.mux(stream.encode(sound))
    container.mux(stream.encode(None))


def _write_vtt(path: Path, plan: ClipPlan, track: _Track) -> None:
    def clock(time_s: float) -> str:
        return f"00:{int(time_s // 60):02d}:{time_s % 60:06.3f}"

    cues = [
        f"{clock(start_s)} --> {clock(end_s)}\n{shot.text}"
        for shot, (start_s, end_s) in zip(plan.shots, track.spoken_s, strict=True)
    ]
    path.write_text("WEBVTT\n\n" + "\n\n".join(cues) + "\n", encoding="utf-8")


def _write_labels(folder: Path, labels: dict[int, Array]) -> None:
    first = 0
    shares = list(SPLITS.values())
    for number, split in enumerate(SPLITS):
        last = round(sum(shares[: number + 1]) * len(labels)) if number + 1 < len(SPLITS) else len(labels)
        with (
            new_file(folder / f"{split}_split.csv") as draft,
            draft.open("w", encoding="utf-8", newline="") as handle,
        ):
            rows = csv.writer(handle)
            rows.writerow(("Filename", *COLUMNS))
            for index in range(first, last):
                rows.writerow((clip_id(index), *(f"{value:.3f}" for value in labels[index])))
        first = last
