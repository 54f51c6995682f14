"""Writes a synthetic recording for `taemi-edge run`: a video, the watch's values, and which gesture was when.

    python examples/gesture/record.py --output runs/gesture left circle push    # hand.mp4, imu.csv, truth.csv
    python examples/gesture/record.py --live left circle push                   # JSON lines, at the pace of the clock

The second form writes what a live run takes on standard input or a socket: {"time_s": 0.02, "values": [six numbers]}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from gesture_data import FINE_HZ, IMU_HZ, NAMES, WINDOW_S, Floats, Pictures, draw_hand, feel, look_of, move

FRAMES_PER_SECOND, HEIGHT, WIDTH = 25, 120, 160
CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")


def record(names: Sequence[str], seed: int) -> tuple[Pictures, Floats]:
    """Gestures one after another, two seconds each, of one hand in one room.

    Returns:
        Pictures, uint8 (25 a second, 120, 160, 3), and the watch's values, float32 (50 a second, 6).
    """
    random = np.random.default_rng(seed)
    look, worn = look_of(random, brightness=1.0), random.choice((-1.0, 1.0))
    pictures, values = [], []
    for name in names:
        path, roll = move(name, random)
        every = FINE_HZ // FRAMES_PER_SECOND
        pictures += [draw_hand(p, r, look, HEIGHT, random) for p, r in zip(path[::every], roll[::every], strict=True)]
        values.append(feel(path, roll, worn, random))
    aside = (WIDTH - HEIGHT) // 2
    wide = [cv2.copyMakeBorder(picture, 0, 0, aside, aside, cv2.BORDER_REPLICATE) for picture in pictures]
    return np.stack(wide), np.concatenate(values)


def write_video(file: Path, pictures: Pictures) -> None:
    """Write pictures as H.264."""
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = Fraction(1, FRAMES_PER_SECOND)
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())


def write_recording(folder: Path, names: Sequence[str], seed: int) -> None:
    """Write `hand.mp4`, `imu.csv` and `truth.csv` into a folder, which is made where it is missing."""
    pictures, values = record(names, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "hand.mp4", pictures)
    rows = [",".join(("time_s", *CHANNELS))]
    rows += [",".join([f"{at / IMU_HZ:.2f}", *(f"{v:.4f}" for v in row)]) for at, row in enumerate(values)]
    (folder / "imu.csv").write_text("\n".join(rows) + "\n", encoding="ascii")
    truth = ["start_s,end_s,gesture"]
    truth += [f"{at * WINDOW_S:.1f},{(at + 1) * WINDOW_S:.1f},{name}" for at, name in enumerate(names)]
    (folder / "truth.csv").write_text("\n".join(truth) + "\n", encoding="ascii")


def play_live(names: Sequence[str], seed: int) -> None:
    """Write the watch's values to standard output as JSON lines, each when its time has come."""
    started = time.monotonic()
    for at, row in enumerate(record(names, seed)[1]):
        time.sleep(max(0.0, started + at / IMU_HZ - time.monotonic()))
        sys.stdout.write(json.dumps({"time_s": at / IMU_HZ, "values": [round(float(v), 4) for v in row]}) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Write a recording, or play the watch's values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="GESTURE", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/gesture"))
    parser.add_argument("--live", action="store_true", help="write JSON lines at the pace of the clock instead")
    options = parser.parse_args()
    names = options.names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"expected gestures among {', '.join(NAMES)}, got {unknown[0]!r}")
    if options.live:
        play_live(names, options.seed)
    else:
        write_recording(options.output, names, options.seed)


if __name__ == "__main__":
    main()
