"""What taemi-mobile costs on this machine's CPU, with its engines and as it was, in one run: `make bench`.

    python benchmarks/cpu.py engines/taemi-mobile-cpu --output benchmarks/cpu.json [--against CHECKOUT] [--plot F.png]

- parts: PyTorch eager, FP32 engines and the engines of the bundle, in turn and with one thread;
- a hop with faces: the demo clip through the whole runtime, by the bundle and, in turn, by FP32 engines. With
  `--against` these are built and run by another checkout (`git worktree add FOLDER COMMIT`), as it runs them;
- the same hop against a script that encodes its window of 4 s again, in FP32;
- the peak memory of `run` on both sides, and the time of `taemi-edge --help`.

Medians of turns and their ratios are what to quote: a machine that is busy elsewhere slows both sides alike.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.engines.build import build_engine
from taemi_edge.media.files import MediaFile
from taemi_edge.media.rehearsed_losses import Drop
from taemi_edge.parity.golden import demo_clip, golden_cases
from taemi_edge.parity.windows import head_feeds
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.processor import features
from taemi_edge.runtime.window import Source
from taemi_edge.taemi.checkpoint import open_checkpoint
from taemi_edge.taemi.exporting import export_checkpoint
from taemi_edge.taemi.reference import Reference

REPEATS, TURNS = 15, 3

#: What runs the clip hop by hop, in a process of its own: any checkout has these names.
RUN_HOPS = """
import json, pathlib, sys
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.media.files import MediaFile
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.window import Source
folder, clip, transcript, threads = sys.argv[1:]
bundle = open_bundle(folder)
words = read_transcript(pathlib.Path(transcript), None) if transcript else []
with MediaFile(clip, streams=bundle.manifest.streams) as media:
    hops = list(media.hops(bundle.manifest.window.hop_s))
chosen = {"threads": int(threads)} if threads else {}
with Pipeline(bundle, Source(words=words), **chosen) as pipeline:
    made = [pipeline.predict(hop) for hop in hops]
print(json.dumps([p.latency_ms for p in made if p.time_s >= bundle.manifest.window.length_s]))
"""

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


@dataclass(frozen=True)
class Side:
    """Engines, and the checkout that runs them.

    Attributes:
        threads: as `--threads` takes them; "" for what the checkout does by itself.
    """

    bundle: Path
    checkout: Path = ROOT
    threads: str = "1"

    def run(self, script: str, *words: str) -> str:
        """What a script prints, in a process of its own; Python looks for modules where it starts first."""
        environment = {**os.environ, "PYTHONPATH": str(self.checkout)}
        command = [sys.executable, "-c", script, *words]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env=environment, text=True, cwd=self.checkout
        )
        return done.stdout


@dataclass(frozen=True)
class Clip:
    """What is run."""

    video: Path
    transcript: Path | None


def main() -> None:
    given = parse_words()
    torch.set_num_threads(1)
    clip = Clip(given.clip.resolve(), None) if given.clip else Clip(*demo_clip())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = open_checkpoint("taemi-mobile")
        graphs = given.graphs or folder / "graphs"
        if given.graphs is None:
            export_checkpoint(checkpoint, graphs, source="taemi-mobile")
        fp32 = build_engine(graphs, "cpu", "fp32", folder / "fp32", threads=1).bundle
        chosen = open_bundle(given.bundle.resolve()) if given.bundle else auto_engines(graphs, folder / "auto")
        sides = sides_of(chosen, fp32, graphs, given.against, folder)
        hop = time_hops(sides, clip)
        result = {
            "machine": machine(),
            "clip": clip.video.name,
            "engines": engines_of(chosen),
            "parts": time_parts(chosen, fp32, Reference(checkpoint)),
            "hop": hop,
            "window": time_whole_windows(fp32, Reference(checkpoint), hop["now"]),
            "vision_ms_with_camera_dropped": camera_dropped_ms(chosen, clip),
            "run": time_runs(sides, clip, folder),
            "help_s": time_help(),
        }
    write_report(given.output, result, "torch", "transformers")
    print(json.dumps(result, indent=2))
    if given.plot:
        plot(result, given.plot)


def parse_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path, help="engines for the CPU  [default: `auto` of the graphs]")
    parser.add_argument("--graphs", type=Path, metavar="BUNDLE", help="of FP32 engines  [default: a new export]")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="what runs the FP32 engines")
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument("--plot", type=Path, metavar="F.png")
    parser.add_argument("--clip", type=Path, metavar="VIDEO", help="default: the synthetic clip of the demo")
    return parser.parse_args()


def auto_engines(graphs: Path, folder: Path) -> Bundle:
    return build_engine(graphs, "cpu", "auto", folder).bundle


def sides_of(chosen: Bundle, fp32: Bundle, graphs: Path, against: Path | None, folder: Path) -> dict[str, Side]:
    """Who runs what: FP32 as before and the bundle now, with one thread, and both as they run by themselves."""
    before, checkout = fp32.folder, ROOT
    if against is not None:
        before, checkout = folder / "before", against.resolve()
        words = ["build-engine", str(graphs.resolve()), "--target", "cpu", "--precision", "fp32", "--no-cache"]
        script = "from taemi_edge.cli.main import main; main()"
        Side(before, checkout).run(script, *words, "--output", str(before))
    return {
        "before": Side(before, checkout),
        "now": Side(chosen.folder),
        "before_all_cores": Side(before, checkout, ""),
        "now_as_planned": Side(chosen.folder, threads=""),
    }


def engines_of(bundle: Bundle) -> dict[str, Any]:
    """What each part is, and how the parts share the processor."""
    record = bundle.manifest.engine
    kept = [each for each in record.candidates if each.kept] if record else []
    host = record.host if record else None
    return {
        "parts": {each.part: each.form or each.precision for each in kept},
        "threads": host.how if host else "",
    }


def machine() -> dict[str, Any]:
    names = ("torch", "onnxruntime", "transformers", "numpy")
    processor = features()
    return {
        "cpu": processor.name or processor.architecture,
        "vnni": bool(processor.features & {"avx512_vnni", "avx_vnni"}),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def in_turn(functions: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Milliseconds of functions, run alternately, after two warm-ups."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repeat >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """How many times as fast, the median over turns."""
    return round(median(a / b for a, b in zip(slow, fast, strict=True)), 2)


def time_parts(chosen: Bundle, fp32: Bundle, reference: Reference) -> dict[str, Any]:
    """Each part on what a hop of half a second feeds it; the fusion head on a whole window."""
    names = {"vision": "one frame", "audio": "longest", "text": "typical length", "fusion": "window"}
    cases = {c.part: c for c in reversed(golden_cases(chosen)) if c.name == names[c.part]}
    timed: dict[str, Any] = {}
    with open_sessions(fp32, threads=1) as plain, open_sessions(chosen, threads=1) as engines:
        for part in chosen.manifest.part_names:
            feeds = cases[part].feeds
            runs = {"eager": partial(reference.run, part, feeds)}
            runs |= {"fp32": partial(plain[part].run, feeds), "engine": partial(engines[part].run, feeds)}
            times = in_turn(runs)
            timed[part] = {
                "feeds": {name: list(value.shape) for name, value in feeds.items()},
                "pytorch_eager_ms": round(median(times["eager"]), 3),
                "fp32_ms": round(median(times["fp32"]), 3),
                "engine_ms": round(median(times["engine"]), 3),
                "times_as_fast_as_fp32": ratio(times["fp32"], times["engine"]),
                "times_as_fast_as_pytorch_eager": ratio(times["eager"], times["engine"]),
            }
    return timed


def time_hops(sides: Mapping[str, Side], clip: Clip) -> dict[str, Any]:
    """The clip, hop by hop with its faces, by each side in turn; hops whose window is full count."""
    totals: dict[str, list[float]] = {name: [] for name in sides}
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, side in sides.items():
            words = (str(side.bundle), str(clip.video), str(clip.transcript or ""), side.threads)
            hops = json.loads(side.run(RUN_HOPS, *words))
            totals[name].append(median(hop["total"] for hop in hops))
            parts[name] += hops
    shown = {name: hop_of(totals[name], parts[name]) for name in sides}
    return {
        **shown,
        "times_as_fast_as_before": ratio(totals["before"], totals["now"]),
        "times_as_fast_as_before_on_all_cores": ratio(totals["before_all_cores"], totals["now_as_planned"]),
    }


def hop_of(totals: list[float], hops: list[dict[str, float]]) -> dict[str, Any]:
    """One side's hop: medians of the whole, means of the parts, since a hop has two or three frames."""
    names = [name for name in hops[0] if name != "total"]
    own = sum(hop["total"] - sum(hop[name] for name in names) for hop in hops) / sum(hop["total"] for hop in hops)
    return {
        "hops": len(hops),
        "total_ms": round(median(totals), 2),
        "mean_ms": round(float(np.mean([hop["total"] for hop in hops])), 2),
        "without_face_ms": round(median(hop["total"] - hop.get("face", 0.0) for hop in hops), 2),
        "parts_ms": {name: round(float(np.mean([hop[name] for hop in hops])), 2) for name in names},
        "own_time_share": round(own, 4) if own >= 0 else None,  # side by side, parts add up to more than the whole
    }


def camera_dropped_ms(bundle: Bundle, clip: Clip) -> float:
    """The most that vision and the face detector cost in a hop while the camera is dropped."""
    with MediaFile(clip.video, streams=bundle.manifest.streams) as media:
        hops = list(media.hops(bundle.manifest.window.hop_s))
    with Pipeline(bundle, Source(drops=[Drop("vision", 0.0, 1e6)]), threads=1) as pipeline:
        made = [pipeline.predict(hop).latency_ms for hop in hops]
    return max((each["vision"] or 0.0) + (each["face"] or 0.0) for each in made)


def time_whole_windows(fp32: Bundle, reference: Reference, hop: Mapping[str, Any]) -> dict[str, Any]:
    """Scripts that encode their whole window again: twenty frames in a batch, four seconds of sound, text, fusion.

    They get their crops for nothing, so they are held against a hop without faces.
    """
    cases = {(c.part, c.name): c for c in golden_cases(fp32)}
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

    with open_sessions(fp32, threads=1) as sessions:
        runs = {
            "onnxruntime": lambda: whole_window(lambda part, values: sessions[part].run(values)),
            "pytorch_eager": lambda: whole_window(reference.run),
        }
        times = in_turn(runs, repeats=9)
    found = {f"{name}_ms": round(median(taken), 1) for name, taken in times.items()}
    hop_ms = hop["without_face_ms"]
    return found | {f"hop_times_as_fast_as_{name}": round(median(t) / hop_ms, 2) for name, t in times.items()}


def time_runs(sides: Mapping[str, Side], clip: Clip, folder: Path) -> dict[str, Any]:
    """`taemi-edge run` as a process of its own, each side in turn."""
    walls: dict[str, list[float]] = {name: [] for name in sides}
    peaks: dict[str, list[int]] = {name: [] for name in sides}
    output = folder / "predictions.jsonl"
    for _ in range(TURNS):
        for name, side in sides.items():
            words = ["run", str(side.bundle), str(clip.video), "--output", str(output)]
            words += ["--transcript", str(clip.transcript)] if clip.transcript else []
            words += ["--threads", side.threads] if side.threads else []
            start = time.perf_counter()
            peaks[name].append(int(side.run(RUN_AND_TELL_PEAK, *words).split()[-1]))
            walls[name].append(time.perf_counter() - start)
    media_s = json.loads(output.read_text(encoding="utf-8").splitlines()[-1])["time_s"]
    return {
        name: {
            "media_s": media_s,
            "wall_s_with_start": round(median(walls[name]), 2),
            "real_time_factor_with_start": round(median(walls[name]) / media_s, 3),
            "peak_memory_mb": round(median(peaks[name]) / 1024),
        }
        for name in sides
    }


def time_help() -> float:
    """Median seconds of `taemi-edge --help` over nine processes."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "taemi_edge", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return round(median(times), 3)


def plot(result: Mapping[str, Any], file: Path) -> None:
    """The parts by contender, and the hop by part."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    parts = list(result["parts"])
    series = {"pytorch_eager_ms": "PyTorch eager", "fp32_ms": "FP32 engine", "engine_ms": "engine of the bundle"}
    for at, (key, label) in enumerate(series.items()):
        heights = [result["parts"][part][key] for part in parts]
        left.bar(np.arange(len(parts)) + (at - 1) * 0.27, heights, 0.25, label=label)
    for at, part in enumerate(parts):
        timed = result["parts"][part]
        text = f"{timed['times_as_fast_as_fp32']:.2f} x"
        left.annotate(text, (at + 0.27, timed["engine_ms"]), ha="center", va="bottom", fontsize=8)
    words = {p: result["engines"]["parts"].get(p, "").replace(", ", ",\n") for p in parts}
    left.set_xticks(range(len(parts)), [f"{p}\n{words[p]}" for p in parts], fontsize=8)
    left.set(title="Parts, one thread", ylabel="ms")
    left.legend()
    names = {"before": "before,\n1 thread", "now": "now,\n1 thread", "before_all_cores": "before,\nall cores"}
    names["now_as_planned"] = "now,\nas planned"
    bottom = np.zeros(len(names))
    for part in (*parts, "face"):
        taken = np.array([result["hop"][name]["parts_ms"].get(part, 0.0) for name in names])
        right.bar(list(names.values()), taken, 0.6, bottom, label=part)
        bottom += taken
    walls = [result["hop"][name]["mean_ms"] for name in names]
    right.plot(list(names.values()), walls, "k_", markersize=40, label="by the wall")
    right.set(title="A hop with faces: mean work of its parts", ylabel="ms")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"taemi-mobile on {result['machine']['cpu']}, {result['machine']['cores']} cores")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
