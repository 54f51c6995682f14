"""What taemi-mobile costs on this machine's CPU, against PyTorch eager in the same run: `make bench`.

    python benchmarks/cpu.py --output benchmarks/cpu.json [--clip VIDEO]

One thread for both sides. Parts are timed in turn (PyTorch, ONNX Runtime, PyTorch, ...), so that a machine that is
busy elsewhere slows both alike; medians and ratios are what to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.media.files import MediaFile
from taemi_edge.media.hops import Hop
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.parity.golden import demo_clip, golden_cases
from taemi_edge.parity.windows import head_feeds
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.window import Source
from taemi_edge.taemi.checkpoint import open_checkpoint
from taemi_edge.taemi.exporting import export_checkpoint
from taemi_edge.taemi.reference import Reference

REPEATS = 15

#: The command line, then its own peak in kB: `ru_maxrss` would count what the parent held when it forked.
RUN_AND_TELL_PEAK = """
import atexit, pathlib
@atexit.register
def tell():
    status = pathlib.Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
from taemi_edge.cli.main import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument("--clip", type=Path, metavar="VIDEO", help="default: the synthetic clip of the demo")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clip, transcript = (arguments.clip, None) if arguments.clip else demo_clip()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "taemi-mobile"
        checkpoint = open_checkpoint("taemi-mobile")
        export_checkpoint(checkpoint, folder, source="taemi-mobile")
        bundle = open_bundle(folder)
        result = {
            "machine": machine(),
            "command": " ".join(["python", *sys.argv]),
            "clip": clip.name,
            "parts": time_parts(bundle, Reference(checkpoint)),
            "hop": time_hops(bundle, Reference(checkpoint), clip, transcript),
            "run": time_run(folder, clip, transcript),
            "help_s": time_help(),
        }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def machine() -> dict[str, Any]:
    names = ("torch", "onnxruntime", "transformers", "numpy")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def in_turn(first: Callable[[], object], second: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Milliseconds of two functions, run alternately, after two warm-ups."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 2):
        for function, kept in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            if repeat >= 2:
                kept.append((time.perf_counter() - start) * 1e3)
    return times


def time_parts(bundle: Bundle, reference: Reference) -> dict[str, Any]:
    """Each part on what a hop of half a second feeds it; the fusion head on a whole window."""
    names = {"vision": "one frame", "audio": "longest", "text": "typical length", "fusion": "window"}
    chosen = {c.part: c for c in reversed(golden_cases(bundle)) if c.name == names[c.part]}
    timed: dict[str, Any] = {}
    with open_sessions(bundle, threads=1) as sessions:
        for part in bundle.manifest.part_names:
            feeds = chosen[part].feeds
            eager, ort = in_turn(
                partial(reference.run, part, feeds),
                partial(sessions[part].run, feeds),
            )
            timed[part] = {
                "feeds": {name: list(value.shape) for name, value in feeds.items()},
                "pytorch_eager_ms": round(median(eager), 3),
                "onnxruntime_ms": round(median(ort), 3),
                "speedup": round(median(a / b for a, b in zip(eager, ort, strict=True)), 2),
            }
    return timed


def time_hops(bundle: Bundle, reference: Reference, clip: Path, transcript: Path | None) -> dict[str, Any]:
    """A hop of the runtime against scripts that encode their whole window of 4 s again."""
    words = read_transcript(transcript, None) if transcript else []
    with MediaFile(clip, streams=bundle.manifest.streams) as media:
        hops = list(media.hops(bundle.manifest.window.hop_s))
    with Pipeline(bundle, Source(words=words), threads=1) as pipeline:
        predictions = [pipeline.predict(hop) for hop in hops]
    parts = bundle.manifest.part_names
    full = [p for p in predictions if p.time_s >= bundle.manifest.window.length_s]
    encode_ms = median(ms_of(p, "total") - ms_of(p, "face") for p in full)
    ort_ms, eager_ms = time_whole_windows(bundle, reference)
    return {
        "hops": len(full),
        "total_ms": round(median(ms_of(p, "total") for p in full), 2),
        "parts_ms": {part: round(float(np.mean([ms_of(p, part) for p in full])), 2) for part in (*parts, "face")},
        "without_face_ms": round(encode_ms, 2),
        "whole_window_onnxruntime_ms": round(ort_ms, 1),
        "whole_window_pytorch_eager_ms": round(eager_ms, 1),
        "times_faster_than_whole_window_onnxruntime": round(ort_ms / encode_ms, 2),
        "times_faster_than_whole_window_pytorch_eager": round(eager_ms / encode_ms, 2),
        "own_time_share": round(own_time_share(full, parts), 4),
        "vision_ms_with_camera_dropped": camera_dropped_ms(bundle, hops),
    }


def ms_of(prediction: Prediction, part: str) -> float:
    """What a part took in a hop; on a processor every part is timed."""
    return prediction.latency_ms[part] or 0.0


def own_time_share(predictions: list[Prediction], parts: tuple[str, ...]) -> float:
    """What of a hop is neither a part nor the face detector: rings, tokens, tokenizer, presence."""
    total = sum(ms_of(p, "total") for p in predictions)
    ran = sum(ms_of(p, name) for p in predictions for name in (*parts, "face"))
    return (total - ran) / total


def camera_dropped_ms(bundle: Bundle, hops: list[Hop]) -> float:
    """The most that vision and the face detector cost in a hop while the camera is dropped."""
    with Pipeline(bundle, Source(drops=[Drop("vision", 0.0, 1e6)]), threads=1) as pipeline:
        return max(ms_of(p, "vision") + ms_of(p, "face") for p in map(pipeline.predict, hops))


def time_whole_windows(bundle: Bundle, reference: Reference) -> tuple[float, float]:
    """Twenty frames in one batch, four seconds of sound in one piece, the text, the fusion: both backends, medians."""
    cases = {(c.part, c.name): c for c in golden_cases(bundle)}
    frames = cases["vision", "largest batch"].feeds["pixels"]
    sound = cases["audio", "largest batch"].feeds["samples"]
    feeds = {
        "vision": {"pixels": np.concatenate([frames, frames[:4]])},
        "audio": {"samples": sound[:4].reshape(1, -1)},
        "text": dict(cases["text", "typical length"].feeds),
    }

    def whole_window(run: Callable[[str, Any], dict[str, Any]]) -> None:
        encoded: dict[str, Any] = {m: run(m, of_one)["features"] for m, of_one in feeds.items()}
        audio = encoded["audio"].reshape(-1, encoded["audio"].shape[-1])
        features = {"vision": encoded["vision"], "audio": audio, "text": encoded["text"][0]}
        run("fusion", head_feeds(features, masks=True))

    with open_sessions(bundle, threads=1) as sessions:
        ort, eager = in_turn(
            lambda: whole_window(lambda part, values: sessions[part].run(values)),
            lambda: whole_window(reference.run),
        )
    return median(ort), median(eager)


def time_run(folder: Path, clip: Path, transcript: Path | None) -> dict[str, Any]:
    """`taemi-edge run` as a process of its own, one thread a part."""
    words = ["--transcript", str(transcript)] if transcript else []
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "predictions.jsonl"
        command = ["run", str(folder), str(clip), *words, "--threads", "1", "--output", str(output)]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", RUN_AND_TELL_PEAK, *command], check=True, capture_output=True)
        wall_s = time.perf_counter() - start
        media_s = json.loads(output.read_text(encoding="utf-8").splitlines()[-1])["time_s"]
    return {
        "media_s": media_s,
        "wall_s_with_start": round(wall_s, 2),
        "real_time_factor_with_start": round(wall_s / media_s, 3),
        "peak_memory_mb": round(int(done.stdout.split()[-1]) / 1024),
    }


def time_help() -> float:
    """Median seconds of `taemi-edge --help` over nine processes."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "taemi_edge", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return round(median(times), 3)


if __name__ == "__main__":
    main()
