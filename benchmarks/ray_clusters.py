"""Extracts one corpus with processes, with Ray on this machine and on two nodes, and loses a worker and a node.

    python benchmarks/ray_clusters.py BUNDLE --output benchmarks/ray-clusters.json --plot benchmarks/ray-clusters.png

The three ways take turns, round after round; what they give is compared byte for byte. Then a worker is killed, and a
node is killed and replaced, while the work goes on. Last, the driver's memory is read at 60 clips and at 600, which are
the same 60 under other ids. The clips are synthetic. All nodes share this machine's processors: the figures say what
Ray costs here, not what it wins on many machines.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from tests.scale.clusters import add_node, two_nodes

#: The goals: how much longer than with processes it may take, and how much more memory ten times the clips may need.
MOST_TIME, MOST_MEMORY = 1.35, 1.1
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=Path, help="another bundle, whose features the runs for memory make")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    words = parser.parse_args()
    os.environ |= _ENVIRONMENT
    with tempfile.TemporaryDirectory() as place, two_nodes() as cluster:
        bench = Bench(words.bundle, Path(place), cluster)
        corpus = bench.corpus(words.clips)
        ways = bench.ways(corpus, words.rounds)
        report: dict[str, Any] = {
            "clips": words.clips,
            "synthetic": True,
            "ways": ways,
            "worker killed": bench.lose(corpus, "worker killed", bench.kill_worker),
            "node killed and replaced": bench.lose(corpus, "node killed", bench.replace_node),
            "memory of the driver in MB": bench.memory(corpus, words.clips, words.small or words.bundle),
        }
    pool = ways["2 processes"]["median_s"]
    report["times the processes' wall time"] = {name: round(way["median_s"] / pool, 2) for name, way in ways.items()}
    few, many = report["memory of the driver in MB"].values()
    report["goals"] = {
        "within 1.35 times the processes": ways["--ray local"]["median_s"] <= MOST_TIME * pool,
        "same bytes": all(way["same bytes"] for way in ways.values()),
        "nothing lost": all(report[name]["same bytes"] for name in ("worker killed", "node killed and replaced")),
        "memory of the driver is flat": many <= MOST_MEMORY * few,
    }
    write_report(words.output, report, "ray")
    print(json.dumps(report, indent=1))
    if words.plot:
        plot(report, words.plot)


class Bench:
    """One bundle, and stores of its features in a folder."""

    def __init__(self, bundle: Path, place: Path, cluster: Any) -> None:
        self.bundle, self.place, self.cluster = bundle, place, cluster
        self.extra_node: Any = None
        self.reference: dict[str, bytes] = {}

    def corpus(self, clips: int) -> Path:
        """A synthetic corpus."""
        folder = self.place / "corpus"
        words = ["synth", str(folder), "--clips", str(clips), "--seed", "1"]
        subprocess.run([sys.executable, "-m", "taemi_edge", *words], check=True, stdout=subprocess.DEVNULL)
        return folder

    def ways(self, corpus: Path, rounds: int) -> dict[str, Any]:
        """Extract in every way, round after round."""
        options = {
            "2 processes": ["--workers", "2"],
            "--ray local": ["--ray", "local", "--workers", "2"],
            "two nodes": ["--ray", self.cluster.address, "--workers", "2"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in options}
        same = dict.fromkeys(options, True)
        for _ in range(rounds):
            for name, chosen in options.items():
                found = self.extract(corpus, chosen)
                seconds[name].append(found["seconds"])
                same[name] = same[name] and found["same bytes"]
        return {
            name: {"median_s": round(statistics.median(times), 2), "all_s": times, "same bytes": same[name]}
            for name, times in seconds.items()
        }

    def extract(
        self, corpus: Path, options: list[str], meanwhile: Callable[[Path], None] | None = None, compare: bool = True
    ) -> dict[str, Any]:
        """Run the command once; its wall time, its notes, the driver's memory, and whether the store is as before."""
        store = self.place / "store"
        shutil.rmtree(store, ignore_errors=True)
        words = ["extract", str(self.bundle), "--data", str(corpus), "--output", str(store), *options]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "taemi_edge", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if meanwhile is not None:
            meanwhile(store)
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = round(time.perf_counter() - began, 2)
        if process.returncode:
            raise SystemExit(f"{shlex.join(words)} failed: {said}")
        files = {file.name: file.read_bytes() for file in store.iterdir() if file.is_file()} if compare else {}
        self.reference = self.reference or files
        notes = [line.removeprefix("note: ") for line in said.splitlines() if "lost" in line]
        return {
            "seconds": seconds,
            "same bytes": files == self.reference,
            "notes": notes,
            "driver_mb": round(used.ru_maxrss / 1024),
        }

    def lose(self, corpus: Path, name: str, kill: Callable[[], None]) -> dict[str, Any]:
        """Lose something when a sixth of the clips is done."""
        if name == "node killed":
            self.extra_node = add_node(self.cluster)

        def meanwhile(store: Path) -> None:
            until = time.monotonic() + 120
            while len(list((store / "pending").glob("*.safetensors"))) < 8 and time.monotonic() < until:
                time.sleep(0.05)
            kill()

        found = self.extract(corpus, ["--ray", self.cluster.address], meanwhile)
        return {key: found[key] for key in ("seconds", "same bytes", "notes")}

    def kill_worker(self) -> None:
        listed = subprocess.run(["/usr/bin/ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
        os.kill(int(next(row for row in listed.splitlines() if "ray::Worker.work" in row).split()[0]), signal.SIGKILL)

    def replace_node(self) -> None:
        self.cluster.remove_node(self.extra_node, allow_graceful=False)
        add_node(self.cluster)

    def memory(self, corpus: Path, clips: int, bundle: Path) -> dict[str, int]:
        """The largest memory of the driver with few clips, and with ten times as many."""
        self.bundle = bundle
        few = self.extract(corpus, ["--ray", self.cluster.address], compare=False)["driver_mb"]
        many = self.place / "many"
        for kind in ("raw", "audio", "transcripts"):
            (many / kind).mkdir(parents=True)
        for table in corpus.glob("*_split.csv"):
            head, *rows = table.read_text(encoding="utf-8").splitlines()
            copies = [_renamed(row, copy) for copy in range(10) for row in rows]
            (many / table.name).write_text("\n".join([head, *copies]) + "\n", encoding="utf-8")
        for file in (file for kind in ("raw", "audio", "transcripts") for file in (corpus / kind).glob("*")):
            for copy in range(10):
                os.link(file, many / file.parent.name / f"{int(file.stem) + 1000 * copy:05d}{file.suffix}")
        found = self.extract(many, ["--ray", self.cluster.address], compare=False)["driver_mb"]
        return {f"{clips} clips": few, f"{10 * clips} clips": found}


def _renamed(row: str, copy: int) -> str:
    """A row of a label file under the id of a copy."""
    clip, comma, labels = row.partition(",")
    return f"{int(Path(clip).stem) + 1000 * copy:05d}{comma}{labels}"


def plot(report: dict[str, Any], file: Path) -> None:
    """A bar for each way, with the goal as a line."""
    from taemi_edge.pictures import new_figure

    figure = new_figure((7, 3))
    axes = figure.subplots()
    losses = ("worker killed", "node killed and replaced")
    times = {name: way["median_s"] for name, way in report["ways"].items()}
    times |= {name: report[name]["seconds"] for name in losses}
    axes.barh(list(times), list(times.values()), color=["0.4"] + ["tab:blue"] * 2 + ["tab:orange"] * 2)
    axes.invert_yaxis()
    axes.axvline(MOST_TIME * times["2 processes"], color="0.2", linestyle="--", linewidth=1, label="1.35 x processes")
    axes.set_xlabel(f"seconds for {report['clips']} synthetic clips on {report['cores']} processors")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
