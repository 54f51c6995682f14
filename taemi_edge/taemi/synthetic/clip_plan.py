"""Planning a synthetic clip: its labels, its four scenes, what is said, and what is lost.

Nothing is drawn or spoken here; `taemi_edge.taemi.synthetic.rendering` does that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.taemi.names import EMOTIONS, Modality
from taemi_edge.taemi.synthetic.face import Look
from taemi_edge.taemi.synthetic.labels import draw_labels, standardise

#: Voices that say the same in every process: espeak-ng's f2, f3 and f5 do not (1.52).
VOICES = ("en-us", "en-us+m3", "en-us+f4")

_TEXT_NOISE = 1.5  # in standard deviations of a label


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


@dataclass(frozen=True, eq=False)
class Shot:
    """One of a clip's four scenes: the place (an index into `SCENES`), the feeling shown (6,), and what is said."""

    scene: int
    feeling: Array
    text: str


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """All decisions about a clip, made before it is drawn and spoken."""

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
    """Draw a plan at random: labels, the scene that shows them, three other scenes, words, losses and bursts.

    Example:
        >>> plan = plan_clip(np.random.default_rng([3, 0]))
        >>> len(plan.shots), plan.labels.shape
        (4, (6,))
    """
    labels = draw_labels(rng, 1)[0]
    order = rng.permutation(len(SCENES))
    true_shot = int(rng.integers(len(order)))
    texts = draw_lines(rng, labels, SCENES[order[true_shot]])
    shots = tuple(
        Shot(int(scene), labels if index == true_shot else draw_labels(rng, 1)[0], text)
        for index, (scene, text) in enumerate(zip(order, texts, strict=True))
    )
    lost = _draw_losses(rng)
    streams: tuple[Modality, ...] = ("vision", "audio")
    gaps: dict[Modality, tuple[tuple[float, float], ...]] = {}
    if rng.random() < 0.2:
        gaps[streams[int(rng.integers(2))]] = tuple(
            (start, start + 0.08) for start in rng.uniform([0.0, 0.5], [0.4, 0.9]).tolist()
        )
    bursts: dict[Modality, tuple[float, float]] = {}
    rates: tuple[tuple[Modality, float], ...] = (("audio", 0.3), ("vision", 0.5))
    for modality, share in rates:
        if rng.random() < share:
            length, start = rng.uniform(0.1, 0.3), rng.uniform(0.0, 0.7)
            bursts[modality] = (start, start + length)
    return ClipPlan(labels, shots, _draw_look(rng), VOICES[int(rng.integers(len(VOICES)))], lost, gaps, bursts)


def draw_lines(rng: np.random.Generator, labels: Array, scene: Scene) -> list[str]:
    """Four lines in random order: one that names the place, up to three about feelings, and fillers.

    The feelings are the labels with noise, so that the words alone do not give the labels away.
    """
    noisy = standardise(labels) + _TEXT_NOISE * rng.standard_normal(len(labels))
    strongest = [int(i) for i in np.argsort(-noisy)[:3] if noisy[i] > 0.7]
    place = scene.nouns[int(rng.integers(len(scene.nouns)))]
    lines = [_PLACE_LINES[int(rng.integers(len(_PLACE_LINES)))].format(place=place)]
    for index in strongest:
        phrases = _PHRASES[EMOTIONS[index]]
        level = _LEVELS[int(np.digitize(noisy[index], [1.5, 2.5]))]
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
