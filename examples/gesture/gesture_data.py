"""Seven gestures of a hand, seen by a camera and felt by a watch.

The data are SYNTHETIC: drawn and computed, not recorded. A hand moves along a path. The camera sees a drawn hand on
that path. The watch feels the path's acceleration, the gravity and the turning of the forearm, with the bias and the
noise of a cheap sensor. Either is ambiguous by itself: a watch may be worn mirrored, so left feels like right; a push
grows little in the picture, and one scene in five is nearly dark.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

NAMES = ("left", "right", "up", "down", "circle", "push", "twist")
WINDOW_S = 2.0
FRAMES_PER_SECOND = 8
CLIP_FRAMES = 4
IMU_HZ = 50
SIZE = 48
FOREARM_M, GRAVITY = 0.35, 9.81
#: Samples of the path a second, before it is seen and felt.
FINE_HZ = 200

Floats = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
#: Values along a path.
Line = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gesture:
    """One gesture: pictures uint8 (16, 48, 48, 3), 8 a second, and the watch's values (100, 6), 50 a second."""

    name: str
    pictures: Pictures
    imu: Floats


def draw_gesture(random: np.random.Generator, name: str | None = None) -> Gesture:
    """One gesture of two seconds: its kind, speed, size, start, light and watch are drawn at random."""
    name = name or NAMES[random.integers(len(NAMES))]
    path, roll = move(name, random)
    worn, dark = random.choice((-1.0, 1.0)), random.random() < 0.2
    every = FINE_HZ // FRAMES_PER_SECOND
    look = look_of(random, brightness=0.06 if dark else 1.0)
    pictures = [
        draw_hand(at, angle, look, SIZE, random) for at, angle in zip(path[::every], roll[::every], strict=True)
    ]
    return Gesture(name, np.stack(pictures), feel(path, roll, worn, random))


def move(name: str, random: np.random.Generator) -> tuple[Line, Line]:
    """The path of the hand in metres, (steps, 3): right, up, towards the camera; and the roll of the wrist, radians."""
    steps = int(WINDOW_S * FINE_HZ)
    lasts, begins = random.uniform(0.6, 1.1), random.uniform(0.1, 0.7)
    t = np.clip((np.arange(steps) / FINE_HZ - begins) / lasts, 0.0, 1.0)
    smooth = t**3 * (10 - 15 * t + 6 * t**2)  # a movement of least jerk (Flash and Hogan, 1985)
    there_and_back = np.sin(np.pi * smooth) ** 2
    far, sign = random.uniform(0.14, 0.26), random.choice((-1.0, 1.0))
    still = np.zeros(steps)
    move = {
        "left": (-far * (smooth - 0.5), still, still),
        "right": (far * (smooth - 0.5), still, still),
        "up": (still, far * (smooth - 0.5), still),
        "down": (still, -far * (smooth - 0.5), still),
        "circle": (far / 2 * np.sin(sign * 2 * np.pi * smooth), far / 2 * np.cos(2 * np.pi * smooth), still),
        "push": (still, still, far * there_and_back),
        "twist": (still, still, still),
    }[name]
    tremor = random.normal(size=(3, 1)) * 0.004 * np.sin(2 * np.pi * 4 * np.arange(steps) / FINE_HZ)
    roll = sign * 1.2 * there_and_back if name == "twist" else still
    return (np.stack(move) + tremor + random.normal(size=(3, 1)) * 0.02).T, roll + random.normal() * 0.15


def feel(path: Line, roll: Line, worn: float, random: np.random.Generator) -> Floats:
    """What a watch measures on a path: acceleration in g and turning in radians a second, (steps at 50 Hz, 6).

    The forearm turns about the elbow: a hand that moves aside or up also turns the watch.
    """
    motion = np.gradient(np.gradient(path, 1 / FINE_HZ, axis=0), 1 / FINE_HZ, axis=0)
    yaw, pitch = path[:, 0] / FOREARM_M, path[:, 1] / FOREARM_M
    turning = np.gradient(np.stack([pitch, yaw, roll], axis=1), 1 / FINE_HZ, axis=0)
    force = (motion + np.array([0.0, GRAVITY, 0.0])) / GRAVITY
    aside, up = force[:, 0].copy(), force[:, 1].copy()
    force[:, 0] = np.cos(roll) * aside + np.sin(roll) * up  # in the watch's own axes, which roll with the wrist
    force[:, 1] = np.cos(roll) * up - np.sin(roll) * aside
    mirrored = np.concatenate([force * [worn, 1.0, 1.0], turning * [1.0, worn, worn]], axis=1)
    felt = mirrored[:: FINE_HZ // IMU_HZ]
    bias, noise = random.normal(size=6) * 0.03, random.normal(size=felt.shape) * 0.04
    return (felt + bias + noise).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """How a scene looks: colours in RGB, and how bright it is."""

    hand: tuple[float, float, float]
    wall: tuple[float, float, float]
    brightness: float


def look_of(random: np.random.Generator, brightness: float) -> Look:
    """A wall and a hand whose colours are drawn at random."""
    wall = random.uniform(30, 130, size=3)
    hand = np.array([215, 165, 135]) * random.uniform(0.6, 1.1)
    return Look(tuple(np.minimum(hand, 255).tolist()), tuple(wall.tolist()), brightness)


def draw_hand(at: Line, roll: float, look: Look, size: int, random: np.random.Generator) -> Pictures:
    """A picture, uint8 (size, size, 3) in RGB: a palm with four fingers, half a metre of the world across."""
    picture = np.full((size, size, 3), look.wall, dtype=np.float32)
    picture += np.linspace(-15, 15, size, dtype=np.float32)[None, :, None]
    scale = size / 0.5 * (1 + 0.8 * at[2])
    centre = np.array([size / 2 + at[0] * size / 0.5, size / 2 - at[1] * size / 0.5])
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    for finger in (-0.5, -0.17, 0.17, 0.5):
        tip = centre + turn @ (np.array([np.sin(finger), -np.cos(finger)]) * 0.085) * scale
        cv2.line(picture, _pixel(centre), _pixel(tip), look.hand, max(1, round(0.02 * scale)), cv2.LINE_AA, 4)
    cv2.circle(picture, _pixel(centre), round(0.04 * scale * 16), look.hand, -1, cv2.LINE_AA, 4)
    noise = random.normal(size=picture.shape) * 5
    drawn: Pictures = np.clip(picture * look.brightness + noise, 0, 255).astype(np.uint8)
    return drawn


def _pixel(at: Line) -> tuple[int, int]:
    return round(float(at[0]) * 16), round(float(at[1]) * 16)  # sixteenths of a pixel


def gestures(count: int, seed: int) -> list[Gesture]:
    """`count` gestures, each name equally often."""
    random = np.random.default_rng(seed)
    return [draw_gesture(random, NAMES[at % len(NAMES)]) for at in range(count)]
