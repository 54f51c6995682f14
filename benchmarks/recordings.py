"""What it costs to replay recordings of a robot, and whether they give what plain files give: `make recordings`.

    python benchmarks/recordings.py --output benchmarks/recordings.json [--plot F.png] [--minutes 60] [--live]

The drive has a camera of 640 x 480 at 15 pictures a second, an IMU at 200 Hz and words: the real clip of the tests
(enlarged), rows of a real IMU, and what the clip says; `tests/robots/material.py` says where they are from. It is
recorded in several forms, and as mp4, CSV and vtt. The model is of the size that robots run: EfficientNet-lite0 on five
pictures a second, MiniLM on the words, and a small network on the IMU; it computes on one core.

- `real_time_factor`: seconds of the whole run for each second of the recording.
- `reader_share`: the CPU time of reading and decoding alone, up to the pictures that the model takes, as a share of
  that of the whole run. Both take turns in one process; the smallest of the turns counts.
- `equal`: how far the predictions lie from those of the plain files.
- `memory`: the resident memory while an hour is replayed. The hour is the drive again and again, with rising stamps.
- `live` (with --live): what `benchmarks/ros_topics.py` and `benchmarks/live_numbers.py` measure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.media.file_source import FileSource
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.pictures import new_figure
from taemi_edge.runtime.files import RunOptions, predict_file
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.processor import features
from tests.robots.drives import write_bag, write_mcap
from tests.robots.material import Material, make_material
from tests.robots.messages import Form, Pictures, Sent, messages, repeated

SIZE_WH, HOP_S = (640, 480), 0.5
PICTURE_TOPICS: dict[Pictures, str] = {
    "rgb8": "/camera/image_raw",
    "jpeg": "/camera/image_raw/compressed",
    "h264": "/camera/video",
}
#: The forms of the drive: how its pictures are coded, and what it lies in.
FORMS: dict[str, tuple[Pictures, str]] = {
    "raw rgb8, MCAP": ("rgb8", "mcap"),
    "JPEG, MCAP": ("jpeg", "mcap"),
    "H.264, MCAP": ("h264", "mcap"),
    "JPEG, bag (sqlite3)": ("jpeg", "bag"),
}
GOAL_READER_SHARE, GOAL_GROWTH_MB = 0.25, 20.0
LIVE = ("ros_topics.py", "live_numbers.py")


def main() -> None:
    given = parse_words()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        bundle = open_bundle(given.bundle or exported(place))
        material = make_material(place / "files", given.seconds, SIZE_WH)
        result: dict[str, Any] = {
            "machine": machine(),
            "model": bundle.manifest.name,
            "drive": {"seconds": given.seconds, "camera": [*SIZE_WH, 15], "imu_hz": 200, "words": len(material.words)},
            "goals": {"reader_share": GOAL_READER_SHARE, "memory_growth_mb": GOAL_GROWTH_MB},
            "plain files": files_figures(bundle, material, given.turns),
            "forms": {},
        }
        expected = list(predict_file(bundle, None, RunOptions(streams=material.files, threads=1)))
        for name, (pictures, container) in FORMS.items():
            drive = written(place, container, messages(material, Form(pictures, others=False)))
            result["forms"][name] = form_figures(bundle, drive, topics(pictures), given, expected)
            print(f"{name}: {result['forms'][name]}", flush=True)
        result["memory"] = memory_figures(place, given.minutes)
    if given.live:
        result["live"] = live_figures()
    write_report(given.output, result, "av", "mcap", "rosbags")
    print(table(result))
    if given.plot:
        plot(result, given.plot)


def parse_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="of the streams eye, wrist and talk  [default: exports one]")
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument("--plot", type=Path, metavar="F.png")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of the drive  [default: 30]")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of each form  [default: 3]")
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="of the long drive  [default: 60]")
    parser.add_argument("--live", action="store_true", help="measure live topics and numbers, too")
    return parser.parse_args()


def exported(place: Path) -> Path:
    """The model that takes the drive, exported in a process of its own: PyTorch stays out of this one."""
    code = "import sys, pathlib; from tests.robots.model import export_large_robot as e; e(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(place / "bundle")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return place / "bundle"


def topics(pictures: Pictures) -> dict[str, str]:
    """Which topic feeds which stream."""
    return {"eye": PICTURE_TOPICS[pictures], "wrist": "/imu/data", "talk": "/transcript"}


def written(place: Path, container: str, sent: Iterator[Sent]) -> Path:
    """A recording of some messages; raw pictures are not compressed, as recorders leave them."""
    name = place / f"drive-{len(list(place.glob('drive-*')))}"
    if container == "bag":
        return write_bag(name, sent)
    return write_mcap(name.with_suffix(".mcap"), sent, compression="none")


# ------------------------------------------------------------------------------------------------------------ figures


def form_figures(
    bundle: Bundle, drive: Path, fields: dict[str, str], given: argparse.Namespace, expected: list[Prediction]
) -> dict[str, Any]:
    """The cost of a form, and how its predictions compare with those of plain files."""
    options = RunOptions(topics=fields, threads=1)

    def read() -> None:
        with RecordingSource(drive, bundle.manifest.streams, fields) as source:
            look_at(source)

    figures = costs(read, lambda: drain(predict_file(bundle, drive, options)), given.seconds, given.turns)
    return {
        "megabytes": round(sum(f.stat().st_size for f in ([drive] if drive.is_file() else drive.iterdir())) / 1e6, 1),
        **figures,
        "equal": agreement(list(predict_file(bundle, drive, options)), expected),
    }


def files_figures(bundle: Bundle, material: Material, turns: int) -> dict[str, Any]:
    """The cost of the same data as mp4, CSV and vtt."""

    def read() -> None:
        with FileSource(None, bundle.manifest.streams, material.files) as source:
            look_at(source)

    options = RunOptions(streams=material.files, threads=1)
    return costs(read, lambda: drain(predict_file(bundle, None, options)), material.seconds, turns)


def look_at(source: Any) -> None:
    """Read all hops, and convert the pictures that a model would look at."""
    for hop in source.hops(HOP_S):
        for frame in hop.frames:
            _ = frame.image


def drain(predictions: Iterator[Prediction]) -> None:
    for _ in predictions:
        pass


def costs(read: Callable[[], None], run: Callable[[], None], seconds: float, turns: int) -> dict[str, Any]:
    """CPU and wall time of reading and of the whole run, in turn; the smallest of each."""
    read()
    taken: dict[str, list[tuple[float, float]]] = {"read": [], "run": []}
    for _ in range(turns):
        for name, work in (("read", read), ("run", run)):
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            work()
            taken[name].append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
    read_cpu_s, run_cpu_s = (min(cpu_s for cpu_s, _ in taken[name]) for name in ("read", "run"))
    return {
        "real_time_factor": round(min(wall_s for _, wall_s in taken["run"]) / seconds, 4),
        "reader_ms_a_second": round(read_cpu_s / seconds * 1e3, 2),
        "run_ms_a_second": round(run_cpu_s / seconds * 1e3, 2),
        "reader_share": round(read_cpu_s / run_cpu_s, 3),
    }


def agreement(found: list[Prediction], expected: list[Prediction]) -> dict[str, Any]:
    """How far predictions lie apart, and whether presence is the same."""
    pairs = list(zip(found, expected, strict=True))
    apart = [abs(x - y) for a, b in pairs for x, y in zip(_numbers(a), _numbers(b), strict=True)]
    presence = all(a.presence == b.presence for a, b in pairs)
    return {"predictions": len(pairs), "largest_difference": float(np.max(apart)), "same_presence": presence}


def _numbers(prediction: Prediction) -> list[float]:
    return [number for group in prediction.outputs.values() for number in (group or {}).values()]


def memory_figures(place: Path, minutes: float) -> dict[str, Any]:
    """Resident memory while a long drive is replayed, in a process of its own with a model that costs little."""
    period_s = 60.0
    minute = make_material(place / "minute", period_s, SIZE_WH)
    sent = repeated(messages(minute, Form("h264", others=False)), max(1, round(minutes)), period_s)
    drive = write_mcap(place / "long.mcap", sent)
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from benchmarks import recordings as r; "
        "r.replay_long(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))"
    )
    bundle = place / "small"
    small = "import sys, pathlib; from tests.robots.model import export_robot as e; e(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", small, str(bundle)], env=environment, check=True, capture_output=True)
    command = [sys.executable, "-c", code, str(ROOT), str(bundle), str(drive)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"minutes": minutes, "megabytes": round(drive.stat().st_size / 1e6, 1), **figures}


def replay_long(bundle: Path, drive: Path) -> None:
    """Replay a drive, and print the resident memory along the way as JSON."""
    began_s, resident = time.perf_counter(), []
    at_s = 0.0
    for prediction in predict_file(open_bundle(bundle), drive, RunOptions(topics=topics("h264"), threads=1)):
        if prediction.time_s >= at_s:
            resident.append([round(prediction.time_s, 1), round(resident_mb(), 1)])
            at_s += 30.0
        last_s = prediction.time_s
    settled = [mb for time_s, mb in resident if time_s >= min(120.0, last_s / 4)]
    figures = {
        "growth_mb": round(settled[-1] - settled[0], 1),
        "most_mb": max(mb for _, mb in resident),
        "real_time_factor": round((time.perf_counter() - began_s) / last_s, 4),
        "resident_mb": resident,
    }
    print(json.dumps(figures))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def live_figures() -> dict[str, Any]:
    """What the scripts for live topics and numbers measure, by their names."""
    found = {}
    for script in LIVE:
        if not (ROOT / "benchmarks" / script).is_file():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            output = Path(scratch) / "figures.json"
            command = [sys.executable, str(ROOT / "benchmarks" / script), "--seconds", "10", "--output", str(output)]
            subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
            found[script] = json.loads(output.read_text("utf-8"))
    return found


# ------------------------------------------------------------------------------------------------------------- report


def machine() -> dict[str, Any]:
    return {
        "processor": features().name,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "av", "numpy", "mcap", "rosbags")},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, for the terminal and the documents."""
    lines = [
        "| form | MB a minute | real-time factor | reader, ms a second | of the run | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    seconds = result["drive"]["seconds"]
    for name, found in {"mp4, CSV and vtt": result["plain files"], **result["forms"]}.items():
        size = f"{found['megabytes'] * 60 / seconds:.0f}" if "megabytes" in found else ""
        apart = f"{found['equal']['largest_difference']:.1g}" if "equal" in found else ""
        lines.append(
            f"| {name} | {size} | {found['real_time_factor']} | {found['reader_ms_a_second']} | "
            f"{found['reader_share']:.0%} | {apart} |"
        )
    memory = result["memory"]
    lines.append(
        f"\n{memory['minutes']:g} minutes: {memory['most_mb']} MB at most, {memory['growth_mb']} MB more at the end "
        f"than after two minutes"
    )
    return "\n".join(lines)


def plot(result: dict[str, Any], file: Path) -> None:
    """Draw what a second of each form costs, and the memory along the long drive."""
    figure = new_figure((9.0, 3.6))
    costs_axes, memory_axes = figure.subplots(1, 2)
    forms = {"mp4, CSV, vtt": result["plain files"], **result["forms"]}
    names, read = list(forms), [found["reader_ms_a_second"] for found in forms.values()]
    whole = [found["run_ms_a_second"] for found in forms.values()]
    rest = [run - reading for run, reading in zip(whole, read, strict=True)]
    costs_axes.barh(names, read, color="#0072B2", label="reading and decoding")
    costs_axes.barh(names, rest, left=read, color="#E69F00", label="the rest of the run")
    costs_axes.invert_yaxis()
    costs_axes.set_xlabel("CPU ms for a second of the recording")
    costs_axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    times_s, resident = zip(*result["memory"]["resident_mb"], strict=True)
    memory_axes.plot([time_s / 60 for time_s in times_s], resident, color="#009E73")
    memory_axes.set_ylim(0, max(resident) * 1.3)
    memory_axes.set_xlabel("minutes of the recording")
    memory_axes.set_ylabel("resident memory, MB")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
