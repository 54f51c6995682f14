"""Cuts clips into seconds of face crops, to calibrate on. There are no labels: INT8 is judged against FP32.

python examples/faces/faces_data.py me.mp4 you.mp4 --output runs/faces
python examples/faces/faces_data.py --output runs/faces      # the demo clip, whose faces are drawn
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from model import FRAMES_PER_SECOND, SIZE, WINDOW_S

from taemi_edge.media.crops import crop_face
from taemi_edge.media.face_tracking import FaceTracker
from taemi_edge.media.faces import FaceDetector
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import FrameGrid
from taemi_edge.parity.golden import demo_clip

Pictures = npt.NDArray[np.uint8]


def crops_of(clip: Path) -> Pictures:
    """The faces of a clip as the runtime crops them, uint8 (n, 64, 64, 3), five a second."""
    tracker, grid = FaceTracker(FaceDetector()), FrameGrid(FRAMES_PER_SECOND)
    with MediaFile(clip, frames_per_second=FRAMES_PER_SECOND) as media:
        frames = (frame for hop in media.hops(1.0) for frame in hop.frames if grid.wants(frame.time_s))
        found = ((frame.image, tracker.find(frame.image, frame.time_s)) for frame in frames)
        return np.array([crop_face(image, face, (SIZE, SIZE)) for image, face in found if face], np.uint8)


def write_samples(clips: list[Path], folder: Path) -> int:
    """Write a second of faces every half second; one in four is held out to judge on. Gives how many there are."""
    count, length = 0, round(WINDOW_S * FRAMES_PER_SECOND)
    for clip in clips:
        crops = crops_of(clip)
        for start in range(0, len(crops) - length + 1, length // 2):
            place = folder / ("test" if count % 4 == 3 else "train")
            place.mkdir(parents=True, exist_ok=True)
            sample: dict[str, Any] = {"camera/pixels": crops[start : start + length]}
            np.savez(place / f"{count:04}.npz", **sample)
            count += 1
    return count


def main() -> None:
    """Write samples of the clips that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--output", type=Path, default=Path("runs/faces"))
    options = parser.parse_args()
    count = write_samples(options.clips or [demo_clip()[0]], options.output)
    print(f"{options.output}: {count} samples of a second each")


if __name__ == "__main__":
    main()
