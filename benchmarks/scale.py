"""What the features of a corpus cost, stage by stage, and from that the cost of larger ones: `make scale`.

    python benchmarks/scale.py export/taemi-mobile --output benchmarks/scale.json [--plot F.png] [--against CHECKOUT]

Each corpus is a few clips, which `taemi-edge extract` encodes as its users start it. Its own clock (`extract --json`)
says how many CPU seconds each stage took. Three corpora take turns:

- `synthetic`: clips of `taemi-edge synth`, 192 x 144 at ten pictures a second;
- `480p25` and `720p30`: the real clip of the tests, a speech of nine seconds with 320 x 240 pixels, brought to these
  sizes and rates with x264 (preset medium, CRF 23) and given as several clips. Enlarged pictures have less detail than
  those of a camera, so they take fewer bytes and less time to decode.

The cost of 33, 1,000 and 100,000 hours is that of a second of media, times their number. The price of a CPU hour is
yours to give (`--price-cpu-hour`). With `--against`, another checkout encodes the same clips in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import av

from taemi_edge.bench.provenance import write_report
from taemi_edge.corpora.stage_clock import START
from taemi_edge.runtime.processor import features
from taemi_edge.taemi.synthetic.corpus import write_corpus
from taemi_edge.taemi.vidmimic2 import COLUMNS
from tests.conftest import fetch_real_clip

HOURS = (33, 1_000, 100_000)
#: Width, height and pictures a second of the clips that are made of the real one.
SIZES = {"480p25": (854, 480, 25), "720p30": (1280, 720, 30)}
#: An assumption, told as one: a round figure for one rented x86 core, chosen in November 2026; no provider's price.
PRICE_CPU_HOUR = 0.05
SOUND_RATE_HZ = 44_100


@dataclass(frozen=True)
class Media:
    """A corpus on disk, and how much of everything lies in it."""

    name: str
    folder: Path
    clips: int
    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Turn:
    """One run of `extract`.

    Attributes:
        wall_s: the whole command.
        cpu_s: of all its processes.
        stages_s: CPU seconds by stage, as the command itself counts them; empty for a checkout that does not.
        store_bytes: the size of the features.
    """

    wall_s: float
    cpu_s: float
    stages_s: dict[str, float]
    store_bytes: int


def main() -> None:
    given = parse_words()
    with tempfile.TemporaryDirectory() as scratch:
        corpora = make_corpora(Path(scratch), given.clips)
        sides = {"now": ROOT} | ({"against": given.against.resolve()} if given.against else {})
        turns: dict[str, dict[str, list[Turn]]] = {side: {corpus.name: [] for corpus in corpora} for side in sides}
        for _ in range(given.turns):
            for corpus in corpora:
                for side, checkout in sides.items():
                    turns[side][corpus.name].append(extract(checkout, given, corpus, Path(scratch) / "store"))
    result = {
        "machine": machine(),
        "bundle": given.bundle.name,
        "workers": given.workers,
        "price_cpu_hour": given.price_cpu_hour,
        "corpora": {c.name: summary(c, turns["now"][c.name], given.price_cpu_hour) for c in corpora},
    }
    if given.against:
        result["times_as_fast"] = {c.name: ratios(turns["now"][c.name], turns["against"][c.name]) for c in corpora}
    write_report(given.output, result, "av", "opencv-python-headless")
    print(table(result))
    if given.plot:
        plot(result, given.plot)


def parse_words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="whose encoders")
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument("--plot", type=Path, metavar="F.png")
    parser.add_argument("--clips", type=int, default=12, metavar="N", help="in each corpus  [default: 12]")
    parser.add_argument("--turns", type=int, default=2, metavar="N", help="of each corpus  [default: 2]")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes  [default: 2]")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, which takes turns")
    parser.add_argument(
        "--price-cpu-hour",
        type=float,
        default=PRICE_CPU_HOUR,
        metavar="P",
        help=f"what an hour of one core costs you, in any currency  [default: {PRICE_CPU_HOUR}, an assumption]",
    )
    given = parser.parse_args()
    if not (given.bundle / "manifest.json").is_file():
        parser.error(f"{given.bundle}: expected a bundle, found no manifest.json")
    return given


# ------------------------------------------------------------------------------------------------------------ corpora


def make_corpora(folder: Path, clips: int) -> list[Media]:
    """The corpora that take turns."""
    write_corpus(folder / "synthetic", max(3, clips), seed=1)
    real = fetch_real_clip()
    made = [folder / "synthetic"]
    for name, (width, height, rate) in SIZES.items():
        first = folder / f"{name}.mp4"
        bring_to(real, first, (width, height), rate)
        made.append(several_of(first, folder / name, clips))
    return [measured(corpus) for corpus in made]


def several_of(clip: Path, folder: Path, count: int) -> Path:
    """A corpus in which each clip is the same file."""
    (folder / "raw").mkdir(parents=True)
    lines = [",".join(("Filename", *COLUMNS))]
    for number in range(count):
        os.link(clip, folder / "raw" / f"{number:05}.mp4")
        lines.append(",".join((f"{number:05}", *["0.0"] * len(COLUMNS))))
    (folder / "train_split.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def measured(folder: Path) -> Media:
    """How long the clips of a corpus are, and how large."""
    files = sorted((folder / "raw").glob("*.mp4"))
    seconds = 0.0
    for file in files:
        with av.open(str(file)) as media:
            seconds += (media.duration or 0) / av.time_base
    return Media(folder.name, folder, len(files), seconds, sum(file.stat().st_size for file in files) / 1e6)


def bring_to(source: Path, target: Path, size_wh: tuple[int, int], rate: int) -> None:
    """Write a clip with another size and rate of its pictures, and with its own sound."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        pictures: Any = writer.add_stream("libx264", rate=rate, options={"preset": "medium", "crf": "23"})
        pictures.width, pictures.height, pictures.pix_fmt = *size_wh, "yuv420p"
        pictures.time_base = Fraction(1, rate)
        sound: Any = writer.add_stream("aac", rate=SOUND_RATE_HZ)
        number = 0
        for frame in reader.decode(reader.streams.video[0], reader.streams.audio[0]):
            if isinstance(frame, av.AudioFrame):
                writer.mux(sound.encode(frame))
                continue
            while number / rate <= (frame.time or 0.0):
                picture = frame.reformat(*size_wh, "yuv420p")
                picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, rate), 0
                writer.mux(pictures.encode(picture))
                number += 1
        for stream in (pictures, sound):
            writer.mux(stream.encode(None))


# ------------------------------------------------------------------------------------------------------------- timing


def extract(checkout: Path, given: argparse.Namespace, corpus: Media, store: Path) -> Turn:
    """Run `extract` of a checkout in a process of its own; Python looks for modules where it starts first."""
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "taemi_edge", "extract", str(given.bundle.resolve()), "--data", str(corpus.folder)]
    command += ["--output", str(store), "--workers", str(given.workers)]
    report = store.with_suffix(".json")
    if checkout == ROOT:
        command += ["--json", str(report)]
    before, began_s = processor_s(), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    wall_s, cpu_s = time.monotonic() - began_s, processor_s() - before
    if done.returncode:
        raise SystemExit(f"{checkout}: extract ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    stages_s = json.loads(report.read_text())["cpu_s"] if checkout == ROOT else {}
    return Turn(wall_s, cpu_s, stages_s, sum(file.stat().st_size for file in store.glob("shard-*.safetensors")))


def processor_s() -> float:
    """CPU seconds of the processes that this one has started and waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summary(corpus: Media, turns: list[Turn], price: float) -> dict[str, Any]:
    """What a clip of a corpus costs, and what many hours of such clips do."""
    names = {name for turn in turns for name in turn.stages_s} - {START}
    stages_s = {name: median(turn.stages_s.get(name, 0.0) for turn in turns) / corpus.clips for name in names}
    shown = dict(sorted(stages_s.items(), key=lambda entry: -entry[1]))
    a_clip_s, clip_s = sum(stages_s.values()), corpus.seconds / corpus.clips
    start_s = median(turn.cpu_s for turn in turns) - a_clip_s * corpus.clips
    store_bytes = turns[-1].store_bytes / corpus.seconds
    return {
        "clips": corpus.clips,
        "seconds_a_clip": round(clip_s, 2),
        "clips_a_second": round(corpus.clips / median(turn.wall_s for turn in turns), 2),
        "cpu_s_a_clip": round(a_clip_s, 3),
        "stages": {name: round(seconds, 4) for name, seconds in shown.items()},
        "largest": next(iter(shown)),
        "start_cpu_s": round(start_s, 2),
        "media_mb_a_cpu_s": round(corpus.megabytes / corpus.clips / a_clip_s, 3),
        "runs": [asdict(turn) for turn in turns],
        "hours": {
            str(hours): {
                "cpu_hours": round(hours * a_clip_s / clip_s, 1),
                "price": round(hours * a_clip_s / clip_s * price, 2),
                "store_gb": round(hours * 3600 * store_bytes / 1e9, 2),
                "media_gb": round(hours * 3600 * corpus.megabytes / corpus.seconds / 1e3, 1),
            }
            for hours in HOURS
        },
    }


def ratios(now: list[Turn], before: list[Turn]) -> dict[str, float]:
    """How many times as fast the runs are, each beside the other of its turn; the median."""
    pairs = list(zip(now, before, strict=True))
    return {
        "wall": round(median(b.wall_s / a.wall_s for a, b in pairs), 2),
        "cpu": round(median(b.cpu_s / a.cpu_s for a, b in pairs), 2),
    }


# ------------------------------------------------------------------------------------------------------------- report


def machine() -> dict[str, Any]:
    return {
        "processor": features().name,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "av", "numpy")},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, for the terminal and the documents."""
    corpora = result["corpora"]
    stages = list(dict.fromkeys(name for found in corpora.values() for name in found["stages"]))
    lines = [
        f"| | {' | '.join(corpora)} |",
        f"|---|{'---|' * len(corpora)}",
        _row("clips a second", [found["clips_a_second"] for found in corpora.values()]),
        _row("seconds of media in a clip", [found["seconds_a_clip"] for found in corpora.values()]),
        _row("CPU seconds a clip", [found["cpu_s_a_clip"] for found in corpora.values()]),
    ]
    for name in stages:
        spent = [(found["stages"].get(name, 0.0), found["cpu_s_a_clip"]) for found in corpora.values()]
        lines.append(_row(f"- {name}", [f"{seconds:.3f} ({seconds / total:.0%})" for seconds, total in spent]))
    lines.append(_row("CPU seconds to start, once", [found["start_cpu_s"] for found in corpora.values()]))
    for hours in map(str, HOURS):
        of_hours = [found["hours"][hours] for found in corpora.values()]
        cells = [f"{h['cpu_hours']:,.0f} h, {h['price']:,.2f}, {h['store_gb']:,.0f} GB" for h in of_hours]
        lines.append(_row(f"{int(hours):,} hours: CPU, price, features", cells))
    for name, found in result.get("times_as_fast", {}).items():
        lines.append(f"\n{name}: {found['wall']} times as fast by the clock, {found['cpu']} by CPU seconds")
    return "\n".join(lines)


def _row(name: str, cells: list[Any]) -> str:
    return f"| {name} | {' | '.join(map(str, cells))} |"


def plot(result: dict[str, Any], file: Path) -> None:
    """Bars of the stages of a second of media, and the CPU hours of large corpora."""
    from taemi_edge.palette import series_colours
    from taemi_edge.pictures import new_figure, series_line

    corpora = result["corpora"]
    stages = list(dict.fromkeys(name for found in corpora.values() for name in found["stages"]))
    largest = [n for n in stages if any(f["stages"].get(n, 0) > 0.01 * f["cpu_s_a_clip"] for f in corpora.values())]
    figure = new_figure((10, 4))
    left, right = figure.subplots(1, 2)
    below = dict.fromkeys(corpora, 0.0)
    for stage, colour in zip(largest, series_colours(len(largest)), strict=True):
        heights = [1e3 * f["stages"].get(stage, 0) / f["seconds_a_clip"] for f in corpora.values()]
        left.bar(list(corpora), heights, 0.6, bottom=list(below.values()), label=stage, color=colour)
        below = {name: below[name] + height for name, height in zip(below, heights, strict=True)}
    left.set_ylim(0, 1.35 * max(below.values()))
    left.set_ylabel("CPU ms for a second of media")
    left.legend(fontsize=8)
    for index, (name, found) in enumerate(corpora.items()):
        cpu_hours = [found["hours"][str(h)]["cpu_hours"] for h in HOURS]
        right.plot(HOURS, cpu_hours, **series_line(index, len(corpora)), label=name)
    right.set(xscale="log", yscale="log", xlabel="hours of media", ylabel="CPU hours")
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.suptitle(f"extract of {result['bundle']}, {result['machine']['processor']}, one core", fontsize=10)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
