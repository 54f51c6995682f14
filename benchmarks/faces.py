"""What finding a face costs in a frame, one thread, and how far the crops are from those of detection in every frame.

    python benchmarks/faces.py --output benchmarks/faces.json [--clip VIDEO]... [--every N]

Three ways take turns on each frame: the detector on LiteRT as it was before, where that is installed; the detector on
ONNX Runtime; and the tracker, which detects a face in one of N frames and follows its motion in between. Each clip is
read at five frames a second, as it is and brought to other sizes. Times are those that this thread spent on a
processor, so that a busy machine tells little more than an idle one, and means over frames, since those of the tracker
differ. Crops are compared by the left, top and side of their squares, in pixels of the frame.

The detector itself gives other boxes for a picture that looks the same. As a measure of that, its crops are compared
with those for the same frames after JPEG at quality 90, and after a move by one pixel.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.values import Array
from taemi_edge.media.crops import square_around
from taemi_edge.media.face_tracking import DETECT_EVERY, FaceTracker
from taemi_edge.media.faces import Face, FaceDetector, overlap
from taemi_edge.media.files import MediaFile
from taemi_edge.parity.golden import demo_clip

ROOT = Path(__file__).parent.parent
ORIGINAL = ROOT / "tests" / "media" / "blazeface_full_range_sparse.tflite"
FRAMES_PER_SECOND = 5.0
HEIGHTS = (480, 720, 1080)
#: Crops nearer than this count as the same.
NEAR_PX = 2

Square = tuple[int, int, int]
Frames = Sequence[tuple[float, Array]]


class LiteRtDetector(FaceDetector):
    """The detector as it was before: the original graph on LiteRT, pixels as floats, and boxes merged in Python."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        super().__init__()
        self._interpreter = Interpreter(model_content=ORIGINAL.read_bytes(), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = sorted(self._interpreter.get_output_details(), key=lambda output: int(output["shape"][-1]))
        self._output_indices = [output["index"] for output in outputs]

    def detect(self, image: Array) -> list[Face]:
        """See `FaceDetector`."""
        height, width = image.shape[:2]
        side = max(height, width)
        left, top, scale = (side - width) // 2, (side - height) // 2, self.size / side
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
        canvas = np.zeros((self.size, self.size, 3), np.float32)
        y, x = round(top * scale), round(left * scale)
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small[: self.size - y, : self.size - x]
        self._interpreter.set_tensor(self._input, (canvas / 127.5 - 1.0)[None])
        self._interpreter.invoke()
        logits, raw = (self._interpreter.get_tensor(output)[0] for output in self._output_indices)
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -80, 80)))
        chosen = np.flatnonzero(scores > self.min_score)
        centre = raw[chosen, 0:2] / self.size + self._anchors_xy[chosen]
        half = raw[chosen, 2:4] / self.size / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) * side - [left, top, left, top]
        return merged(boxes, scores[chosen], self.max_overlap)


def merged(boxes_xyxy: Array, scores: Array, max_overlap: float) -> list[Face]:
    """What `FaceDetector` does with boxes that overlap, one by one."""
    faces: list[Face] = []
    left = list(np.argsort(-scores))
    while left:
        best = boxes_xyxy[left[0]]
        same = [i for i in left if overlap(best, boxes_xyxy[i]) > max_overlap]
        box = np.average(boxes_xyxy[same], axis=0, weights=scores[same])
        faces.append(Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(scores[left[0]])))
        left = [i for i in left if i not in same and i != left[0]]
    return faces


class Counting(FaceDetector):
    """Counts the frames in which it was asked."""

    count = 0

    def detect(self, image: Array) -> list[Face]:
        """See `FaceDetector`."""
        self.count += 1
        return super().detect(image)


class Changing(FaceDetector):
    """Sees each picture changed a little, in a way that people do not see."""

    def __init__(self, change: Callable[[Array], Array]) -> None:
        super().__init__()
        self._change = change

    def detect(self, image: Array) -> list[Face]:
        """See `FaceDetector`."""
        return super().detect(self._change(image))


def as_jpeg(image: Array) -> Array:
    """The picture after JPEG at quality 90."""
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR))


def moved(image: Array) -> Array:
    """The picture one pixel further to the right."""
    return np.roll(image, 1, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument(
        "--clip", type=Path, action="append", metavar="VIDEO", help="by default the demo's, which is drawn"
    )
    parser.add_argument(
        "--every", type=int, default=DETECT_EVERY, metavar="N", help="the tracker detects in one of N frames"
    )
    given = parser.parse_args()
    cv2.setNumThreads(1)
    clips = {clip.name: read(clip) for clip in given.clip or [demo_clip()[0]]}
    sizes = {
        f"{name}, {height}p": measure([(time_s, enlarged(image, height)) for time_s, image in frames], given.every)
        for name, frames in clips.items()
        for height in HEIGHTS
    }
    own = {name: measure(frames, given.every) for name, frames in clips.items()}
    report = {
        "detected_in_one_of": given.every,
        "as they are": own,
        "sizes": sizes,
    }
    write_report(given.output, report, "av", "opencv-python-headless", "ai-edge-litert")
    for name, found in (own | sizes).items():
        print(f"{name}: {json.dumps(found)}")


def read(clip: Path) -> Frames:
    """The frames of a clip that a model with five frames a second looks at."""
    with MediaFile(clip, 16_000, FRAMES_PER_SECOND) as media:
        return [(frame.time_s, frame.image) for hop in media.hops(0.5) for frame in hop.frames]


def enlarged(image: Array, height: int) -> Array:
    """The picture at another height."""
    width = round(image.shape[1] * height / image.shape[0])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))


def measure(frames: Frames, every: int) -> dict[str, Any]:
    """Times of the three ways, and how far the crops of the last two are from the detector's in every frame."""
    counting = Counting()
    ways: dict[str, FaceTracker] = {
        "onnx": FaceTracker(FaceDetector(), detect_every=1),
        "tracker": FaceTracker(counting, FRAMES_PER_SECOND, every),
    }
    if find_spec("ai_edge_litert") is not None:
        ways = {"litert": FaceTracker(LiteRtDetector(), detect_every=1)} | ways
    for tracker in ways.values():
        tracker.find(frames[0][1], -10.0)  # the first call is slower
    counting.count = 0
    spent_s = dict.fromkeys(ways, 0.0)
    squares: dict[str, list[Square | None]] = {name: [] for name in ways}
    for time_s, image in frames:
        for name, tracker in ways.items():
            began = time.thread_time()
            face = tracker.find(image, time_s)
            spent_s[name] += time.thread_time() - began
            squares[name].append(square_around(face) if face else None)
    first = next(iter(ways))
    found: dict[str, Any] = {"frames": len(frames), "faces": sum(square is not None for square in squares["onnx"])}
    found["ms"] = {name: round(1e3 * seconds / len(frames), 2) for name, seconds in spent_s.items()}
    found["ratio"] = {name: round(seconds / spent_s[first], 2) for name, seconds in spent_s.items() if name != first}
    found["detected"] = round(counting.count / len(frames), 2)
    found["crops"] = {name: difference(squares[first], squares[name]) for name in ways if name != first}
    for name, change, back_px in (("jpeg 90", as_jpeg, 0), ("moved by 1 px", moved, 1)):
        again = FaceTracker(Changing(change), detect_every=1)
        boxes = [again.find(image, time_s) for time_s, image in frames]
        changed = [square_around(face) if face else None for face in boxes]
        back = [square and (square[0] - back_px, *square[1:]) for square in changed]
        found["crops"][f"detector, {name}"] = difference(squares["onnx"], back)
    return found


def difference(expected: Sequence[Square | None], squares: Sequence[Square | None]) -> dict[str, Any]:
    """How far squares are apart, where both ways found the face."""
    pairs = [(a, b) for a, b in zip(expected, squares, strict=True) if a and b]
    lost = sum((a is None) != (b is None) for a, b in zip(expected, squares, strict=True))
    apart = np.array([np.abs(np.subtract(a, b)).max() for a, b in pairs] or [0])
    sides = np.array([a[2] for a, _ in pairs] or [1])
    return {
        "most_px": int(apart.max()),
        "mean_px": round(float(apart.mean()), 2),
        "mean_share_of_side": round(float((apart / sides).mean()), 4),
        f"within_{NEAR_PX}_px": round(float((apart <= NEAR_PX).mean()), 3),
        "found by one alone": lost,
    }


if __name__ == "__main__":
    main()
