"""Times the hops of `taemi-edge bench --host` on the GPU that is here: python -m ...device_hops ENGINES --json FILE

`execute` is all of `TrtExecutor.execute`, with the GPU's own time; its parts tell where the host is. `host.json` has
the same hops without a device.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from taemi_edge.bench.host.clip import read_clip, remembered_faces
from taemi_edge.bench.host.idle_engines import graphs_behind
from taemi_edge.bench.host.measure import HostTimer, processor
from taemi_edge.bench.host.report import HostReport, host_times
from taemi_edge.bench.provenance import today
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.json_files import write_json


def time_on_device(folder: Path, sources: Sequence[int], hops: int) -> HostReport:
    """Time some hops of each number of sources that the engines take.

    Args:
        folder: a bundle of engines; the graphs that it was built from must be there.
    """
    started, bundle = time.perf_counter(), open_bundle(folder)
    clip = read_clip(graphs_behind(bundle).manifest)
    found = []
    with remembered_faces():
        for number in sources:
            timer = HostTimer(bundle, clip)
            try:
                found.append(host_times(number, *timer.measure(number, hops)))
            finally:
                timer.close()
    return HostReport(
        date=today(),
        bundle=str(folder),
        model=bundle.manifest.name,
        command=" ".join(["device_hops", *sys.argv[1:]]),
        machine=processor() | dict(bundle.manifest.engine.machine if bundle.manifest.engine else {}),
        sources=tuple(found),
        synthetic=clip.synthetic,
        seconds=round(time.perf_counter() - started, 1),
    )


def main(words: Sequence[str] | None = None) -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="device_hops")
    parser.add_argument("engines", type=Path)
    parser.add_argument("--sources", default="1", help="numbers, separated by commas")
    parser.add_argument("--hops", type=int, default=320)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(words)
    report = time_on_device(given.engines, [int(number) for number in given.sources.split(",")], given.hops)
    write_json(given.json, report)


if __name__ == "__main__":
    main()
