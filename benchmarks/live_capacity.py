"""How many live sources a machine carries without a late hop, in turn with another checkout.

    python benchmarks/live_capacity.py engines/taemi-mobile-cpu --against CHECKOUT --output F.json [--plot F.png]

Each trial is `taemi-edge run` as its users start it: so many files with picture, sound and words are watched in real
time, a prediction of each is made every second, and nothing may be left out (`load.shed=false`). The counters of the
live loop say how many hops were late or missed. A number of sources is carried where there is none. The files are the
real clip of the tests, again and again, which is fetched from PyPI the first time.

The other checkout runs FP32 engines, which it builds itself of the same graphs. Each side begins with sixteen sources
(`--first`) and goes up or down from there; a number that is not carried is tried twice. Both have all cores; this
machine's other work counts against whoever is running.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from taemi_edge.runtime.processor import features
from tests.conftest import fetch_real_clip
from tests.live.running import LiveRun
from tests.live.servers import long_clip

HOP_S, STARTING_S = 1.0, 120.0
#: A few late hops on a machine that has other work may be chance: such a number of sources is tried once more.
FIRST, STEP = 16, 4
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Side:
    """One of the two that are compared."""

    name: str
    checkout: Path
    bundle: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.checkout)}


class Search:
    """Finds the most sources that are carried, trial by trial."""

    def __init__(self, first: int, most: int) -> None:
        self.first, self.carried, self.failed = first, 0, most + 1

    @property
    def next(self) -> int | None:
        """How many to try next; None when it is known."""
        if self.failed - self.carried <= 1:
            return None
        if not self.carried:
            return self.first if self.first < self.failed else self.failed // 2
        return min(self.carried + STEP, (self.carried + self.failed) // 2)

    def note(self, sources: int, carried: bool) -> None:
        if carried:
            self.carried = sources
        else:
            self.failed = sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="engines for the processor, which this checkout runs")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="an older working tree")
    parser.add_argument("--graphs", type=Path, default=ROOT / "export" / "taemi-mobile", metavar="BUNDLE")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a trial lasts")
    parser.add_argument("--first", type=int, default=FIRST, help="how many sources are tried first")
    parser.add_argument("--most", type=int, default=32, help="more sources are not tried")
    parser.add_argument("--output", type=Path, required=True, metavar="F.json")
    parser.add_argument("--plot", type=Path, metavar="F.png")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sides = [Side("now", ROOT, given.bundle.resolve())]
        if given.against:
            sides.insert(0, before(given.against.resolve(), given.graphs.resolve(), folder))
        clip = long_clip(fetch_real_clip(), folder / "clip.mkv", given.seconds + 30)
        words = write_words(folder / "words.vtt", given.seconds + 30)
        trials: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
        searches = {side.name: Search(given.first, given.most) for side in sides}
        while waiting := [side for side in sides if searches[side.name].next is not None]:
            for side in waiting:
                count = searches[side.name].next or 1
                done = settled_trial(side, count, clip, words, given.seconds, folder)
                trials[side.name].append(done)
                searches[side.name].note(count, done["carried"])
                print(side.name, json.dumps(done), flush=True)
        report = {
            "machine": machine(),
            "hop_s": HOP_S,
            "seconds": given.seconds,
            "carried": {name: search.carried for name, search in searches.items()},
            "trials": {name: sorted(done, key=lambda trial: trial["sources"]) for name, done in trials.items()},
            "plan": plan_of(given.bundle),
        }
    write_report(given.output, report, "av")
    print(json.dumps(report["carried"]))
    if given.plot:
        plot(report, given.plot)


def before(checkout: Path, graphs: Path, folder: Path) -> Side:
    """The other checkout with FP32 engines that it built itself."""
    engines = folder / "before"
    command = [sys.executable, "-m", "taemi_edge", "build-engine", str(graphs), "--target", "cpu"]
    command += ["--precision", "fp32", "--no-cache", "--output", str(engines)]
    subprocess.run(
        command, check=True, capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(checkout)}
    )
    return Side("before", checkout, engines)


def settled_trial(side: Side, sources: int, clip: Path, words: Path, seconds: float, folder: Path) -> dict[str, Any]:
    """A trial, and another one where it failed: what else the machine did may have been the reason."""
    done = trial(side, sources, clip, words, seconds, folder)
    return done if done["carried"] else trial(side, sources, clip, words, seconds, folder)


def trial(side: Side, sources: int, clip: Path, words: Path, seconds: float, folder: Path) -> dict[str, Any]:
    """Watch so many sources for a while."""
    config = folder / "run.toml"
    tables = [f'[[source]]\nname = "s{n:02}"\nuri = "{clip}"\ntranscript = "{words}"\n' for n in range(sources)]
    config.write_text(f"hop_s = {HOP_S}\nduration_s = {seconds}\n[load]\nshed = false\n" + "".join(tables))
    run = LiveRun(folder, side.bundle, "--config", config, cwd=folder, env=side.environment)
    at = run.command.index("--threads")
    del run.command[at : at + 2]  # as users start it: the plan of the engines, or all cores
    with run:
        run.wait_until(lambda: run.predictions, STARTING_S)
        used = processor_s(run.process.pid)
        started = time.monotonic()
        share = 0.0
        while run.process.poll() is None and time.monotonic() - started < seconds + STARTING_S:
            time.sleep(0.5)
            with contextlib.suppress(OSError):
                share = (processor_s(run.process.pid) - used) / (time.monotonic() - started)
        run.wait(30)
    counts = counters(run.log)
    return {
        "sources": sources,
        **counts,
        "carried": counts["hops"] > 0 and not counts["late"] and not counts["missed"],
        **busy_s(run.predictions),
        "cores_used": round(share, 2),
    }


def counters(log: list[str]) -> dict[str, int]:
    """What the loop counted, from the last line that a run writes."""
    for line in reversed(log):
        if found := re.search(r"(\d+) hops in .* s, (\d+) late .*, (\d+) missed", line):
            hops, late, missed = map(int, found.groups())
            return {"hops": hops, "late": late, "missed": missed}
    raise SystemExit("the run gave no summary: " + " / ".join(log[-3:]))


def busy_s(predictions: list[dict[str, Any]]) -> dict[str, float]:
    """How long the hops of all sources took, from the first look at a picture to the last prediction."""
    hops: dict[float, float] = {}
    for prediction in predictions:
        took_s = prediction["latency_ms"]["total"] / 1e3
        hops[prediction["time_s"]] = max(hops.get(prediction["time_s"], 0.0), took_s)
    full = list(hops.values())[4:] or [float("nan")]
    return {"median_hop_s": round(statistics.median(full), 3), "longest_hop_s": round(max(full), 3)}


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def write_words(file: Path, seconds: float) -> Path:
    """Two words a second, as long as the clip lasts."""
    spoken = ["so", "it", "is", "and", "we", "will", "see", "what", "comes", "of", "it", "in", "the", "end"]
    lines = ["WEBVTT", ""]
    for index in range(int(seconds * 2)):
        start, end = index / 2, index / 2 + 0.4
        lines += [f"{clock(start)} --> {clock(end)}", spoken[index % len(spoken)], ""]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{seconds % 60:06.3f}"


def plan_of(bundle: Path) -> Any:
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return (manifest.get("engine") or {}).get("host")


def machine() -> dict[str, Any]:
    processor = features()
    return {
        "processor": processor.name or processor.architecture,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def plot(report: dict[str, Any], file: Path) -> None:
    """How long a hop of all sources takes, over their number."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    colours = {"before": "#999999", "now": "#1f6fb4"}
    for name, trials in report["trials"].items():
        counts = [trial["sources"] for trial in trials]
        for key, style in (("median_hop_s", "-o"), ("longest_hop_s", ":")):
            label = f"{name}: {report['carried'][name]} without a late hop" if key == "median_hop_s" else None
            axes.plot(counts, [trial[key] for trial in trials], style, color=colours[name], label=label)
    axes.axhline(report["hop_s"], color="#c0392b", linewidth=1)
    axes.set(xlabel="live sources", ylabel="seconds a hop takes (median; dotted: longest)", ylim=(0, None))
    cores = report["machine"]["cores"]
    axes.set_title(f"{report['machine']['processor']}, {cores} cores, a prediction of each source every second")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
