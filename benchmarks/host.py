"""Times the host's part of a hop in two checkouts of the repository, before and after, and writes JSON and a picture.

    git worktree add --detach /tmp/before COMMIT
    python benchmarks/host.py BUNDLE --against /tmp/before --output benchmarks/host.json --plot benchmarks/host.png

Each checkout has a process of its own, which runs its `taemi_edge`; the benchmark itself (`taemi_edge/bench/host`) is
the one beside this file in both, so that a checkout need not have it. The two take turns, one pass over the demo clip
each, on a device that does nothing (`taemi-edge bench --host`): no GPU is needed, and nothing is said about one.
After each pass the works of one hop are repeated without a pause (`repeated`).
Without `--against` the checkout of this file is timed alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
#: In every third turn, a pass is followed by one that is split into the parts of `execute`.
SPLIT_EVERY = 3
#: A turn gives 17 hops, of which so many must count.
LEAST_HOPS, MOST_TURNS = 4, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--against", type=Path, help="another checkout: what was before")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--sources", default="1,4,8,16")
    parser.add_argument("--turns", type=int, default=18, help="passes over the clip in each checkout")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.serve:
        serve(words.bundle)
        return
    checkouts = {"before": words.against.resolve()} if words.against else {}
    report = compare(words.bundle.resolve(), {**checkouts, "after": HERE}, words)
    if words.output:
        from taemi_edge.bench.provenance import write_report

        write_report(words.output, report)
    print(json.dumps(report["ratios"] or report["after"]["sources"], indent=1))


def compare(bundle: Path, checkouts: Mapping[str, Path], words: argparse.Namespace) -> dict[str, Any]:
    """Time the checkouts in turn."""
    import msgspec

    from taemi_edge.bench.host.measure import processor
    from taemi_edge.bench.host.report import HostReport, host_times

    started = time.perf_counter()
    command = shlex.join(["python", "benchmarks/host.py", *sys.argv[1:]])
    counts = [int(number) for number in words.sources.split(",")]
    commits = {name: commit_of(checkout) for name, checkout in checkouts.items()}
    rows: dict[str, list[Any]] = {name: [] for name in checkouts}
    with ExitStack() as stack:
        asked = {name: stack.enter_context(worker(bundle, checkout)) for name, checkout in checkouts.items()}
        for sources in counts:
            times = in_turn(asked, sources, words.turns)
            for name, (whole, parts) in times.items():
                rows[name].append(host_times(sources, whole, parts))
    reports = {
        name: HostReport(
            bundle=str(words.bundle),
            model=json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["name"],
            command=command,
            machine=processor(),
            sources=tuple(rows[name]),
            synthetic=(),
            seconds=round(time.perf_counter() - started, 1),
        )
        for name in checkouts
    }
    if words.plot:
        from taemi_edge.cli.bench_host import plot_host

        plot_host(reports, words.plot)
    found = {name: {"commit": commits[name], **msgspec.to_builtins(reports[name])} for name in checkouts}
    return {**found, "ratios": ratios(reports)}


def in_turn(
    asked: Mapping[str, Any], sources: int, turns: int
) -> dict[str, tuple[dict[str, list[float]], dict[str, list[float]]]]:
    """The times of each checkout: of whole calls, and of the parts of others. In every turn another one begins.

    On a busy machine, which interrupts many hops, there are up to `MOST_TURNS` times as many turns.
    """
    times: dict[str, tuple[dict[str, list[float]], dict[str, list[float]]]] = {name: ({}, {}) for name in asked}
    for turn in range(MOST_TURNS * turns):
        lists = [values for of_one in times.values() for kind in of_one for values in kind.values()]
        if turn >= turns and min(map(len, lists)) >= LEAST_HOPS * turns:
            break
        for name in sorted(asked, reverse=bool(turn % 2)):
            for splitting in (False, True) if turn % SPLIT_EVERY == 0 else (False,):
                for what, values in asked[name](sources, splitting).items():
                    times[name][splitting].setdefault(what, []).extend(values)
    return times


def ratios(reports: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """How many times as long the earlier checkout takes, by number of sources: medians."""
    if "before" not in reports:
        return {}
    found = {}
    for before, after in zip(reports["before"].sources, reports["after"].sources, strict=True):
        found[str(before.sources)] = {
            what: round(getattr(before, f"{what}_us").median / getattr(after, f"{what}_us").median, 2)
            for what in ("execute", "repeated", "rows", "prediction")
        }
    return found


@contextmanager
def worker(bundle: Path, checkout: Path) -> Iterator[Any]:
    """A process that runs a checkout; gives a function that times one pass there."""
    command = [sys.executable, str(Path(__file__).resolve()), str(bundle), "--serve"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe) as process:
        questions, answers = process.stdin, process.stdout
        assert questions is not None
        assert answers is not None

        def ask(sources: int, splitting: bool) -> dict[str, list[float]]:
            with suppress(BrokenPipeError):
                print(json.dumps([sources, splitting]), file=questions, flush=True)
            answer = answers.readline()
            if not answer:
                raise SystemExit(f"{checkout}: expected the times of {sources} sources, its process ended")
            times: dict[str, list[float]] = json.loads(answer)
            return times

        yield ask
        with suppress(BrokenPipeError):
            questions.close()


def serve(bundle: Path) -> None:
    """Answer each line of the standard input, [sources, splitting], with the times of one pass."""
    folder = HERE / "taemi_edge" / "bench" / "host"
    name = "taemi_edge.bench.host"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"{folder}: expected the benchmark, found none")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    import taemi_edge
    from taemi_edge.bench.host.measure import host_timer
    from taemi_edge.bundle.folder import open_bundle

    runs = Path(taemi_edge.__file__).resolve().parent.parent
    if runs != Path(os.environ["PYTHONPATH"]):
        raise SystemExit(f"{os.environ['PYTHONPATH']}: expected a checkout of taemi-edge, Python takes {runs}")
    with host_timer(open_bundle(bundle)) as timer:
        for line in sys.stdin:
            sources, splitting = json.loads(line)
            print(json.dumps(timer.one_pass(sources, splitting)), flush=True)


def commit_of(checkout: Path) -> str:
    """The commit of a checkout; with a plus where files differ from it."""
    git = ["git", "-C", str(checkout)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout
    return commit[:12] + ("+" if changed.strip() else "")


if __name__ == "__main__":
    main()
