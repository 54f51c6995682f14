"""Writes synthetic recordings of gestures: a video, the watch's values, and which gesture was when.

    python examples/gesture/record.py --output runs/gesture left circle push     # hand.mp4, imu.csv, truth.csv
    python examples/gesture/record.py --corpus runs/gestures                     # labelled recordings, to calibrate on
    python examples/gesture/record.py --socket runs/imu.sock left circle push    # the watch, to a live run
    python examples/gesture/record.py --live left circle push                    # the same lines on standard output

A live line is what a run takes for a series: {"time_s": 1764363447.02, "values": [six numbers]}.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from gesture_data import FINE_HZ, IMU_HZ, NAMES, WINDOW_S, Floats, Line, Pictures, draw_hand, feel, look_of, move

FRAMES_PER_SECOND, HEIGHT, WIDTH = 25, 120, 160
#: How long the hand takes from the end of a gesture to the beginning of the next.
BETWEEN_S = 2.0
CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")


def record(names: Sequence[str], seed: int) -> tuple[Pictures, Floats]:
    """Gestures of one hand in one room, two seconds each. Between two of them the hand has `BETWEEN_S` to move on.

    Returns:
        Pictures, uint8 (25 a second, 120, 160, 3), and the watch's values, float32 (50 a second, 6).
    """
    random = np.random.default_rng(seed)
    look, worn = look_of(random, brightness=1.0), random.choice((-1.0, 1.0))
    path, roll = joined([move(name, random) for name in names])
    every = FINE_HZ // FRAMES_PER_SECOND
    pictures = [draw_hand(p, r, look, HEIGHT, random) for p, r in zip(path[::every], roll[::every], strict=True)]
    aside = (WIDTH - HEIGHT) // 2
    wide = [cv2.copyMakeBorder(picture, 0, 0, aside, aside, cv2.BORDER_REPLICATE) for picture in pictures]
    return np.stack(wide), feel(path, roll, worn, random)


def joined(moves: Sequence[tuple[Line, Line]]) -> tuple[Line, Line]:
    """One path (steps, 3) and one roll (steps,): after a gesture the hand goes to where the next begins, and rests."""
    t = np.clip(np.arange(round(BETWEEN_S * FINE_HZ)) / FINE_HZ / (0.6 * BETWEEN_S), 0.0, 1.0)
    smooth = (t**3 * (10 - 15 * t + 6 * t**2))[:, None]
    states = [np.concatenate([path, roll[:, None]], axis=1) for path, roll in moves]
    pieces = states[:1]
    for before, after in pairwise(states):
        pieces += [before[-1] + (after[0] - before[-1]) * smooth, after]
    whole = np.concatenate(pieces)
    return whole[:, :3], whole[:, 3]


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
    starts = [at * (WINDOW_S + BETWEEN_S) for at in range(len(names))]
    truth += [f"{start:.1f},{start + WINDOW_S:.1f},{name}" for start, name in zip(starts, names, strict=True)]
    (folder / "truth.csv").write_text("\n".join(truth) + "\n", encoding="ascii")


def write_corpus(folder: Path, clips: int, seed: int) -> None:
    """Write labelled recordings for `calibrate` and `evaluate`: one in four is held out to judge on."""
    rows = ["id,split,camera,imu,label/gesture"]
    for at in range(clips):
        name = NAMES[at % len(NAMES)]
        write_recording(folder / f"{at:03}", [name], seed + at)
        split = "test" if at % 4 == 3 else "train"
        rows.append(f"{at:03},{split},{at:03}/hand.mp4,{at:03}/imu.csv,{name}")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n", encoding="ascii")
    mark = {"made_by": "record.py", "clips": clips, "seed": seed}
    (folder / "synthetic.json").write_text(json.dumps(mark), encoding="ascii")


def play_live(names: Sequence[str], seed: int, write: Callable[[bytes], object]) -> None:
    """Write the watch's values as JSON lines, each when its time has come. `time_s` is Unix time."""
    started = time.time()
    for at, row in enumerate(record(names, seed)[1]):
        measured = started + at / IMU_HZ
        time.sleep(max(0.0, measured - time.time()))
        write(json.dumps({"time_s": round(measured, 3), "values": [round(float(v), 4) for v in row]}).encode() + b"\n")


def connected(path: str, patience_s: float = 30.0) -> socket.socket:
    """A connection to the socket of a live run; waits until the run has made it.

    Raises:
        SystemExit: nobody listens there.
    """
    until = time.monotonic() + patience_s
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > until:
                sys.exit(f"{path}: expected a live run with --stream imu=unix:{path}: {error.strerror}")
            time.sleep(0.1)


def write_to_standard_output(line: bytes) -> None:
    """Write a line, and keep nothing back."""
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def main() -> None:
    """Write a recording or a corpus, or play the watch's values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="GESTURE", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/gesture"))
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="write a folder of labelled recordings instead")
    parser.add_argument("--clips", type=int, default=96, help="how many recordings a corpus has")
    parser.add_argument("--live", action="store_true", help="write JSON lines at the pace of the clock instead")
    parser.add_argument("--socket", metavar="PATH", help="write the lines to the socket of a live run")
    options = parser.parse_args()
    names = options.names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"expected gestures among {', '.join(NAMES)}, got {unknown[0]!r}")
    if options.socket:
        with connected(options.socket) as connection:
            play_live(names, options.seed, connection.sendall)
    elif options.live:
        play_live(names, options.seed, write_to_standard_output)
    elif options.corpus:
        write_corpus(options.corpus, options.clips, options.seed)
    else:
        write_recording(options.output, names, options.seed)


if __name__ == "__main__":
    main()
