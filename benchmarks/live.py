"""How soon losses are noticed and made good, and what the page costs: python benchmarks/live.py BUNDLE --output F.json

Real servers are killed, hung and started again; twenty pages watch. Needs Debian's gst-rtsp-server
(tools/install_test_servers.sh); times are wall times of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import fetch_real_clip
from tests.live.running import LiveRun
from tests.live.servers import RtspServer, free_port, long_clip

ROUNDS = 6
WATCHERS = 20
WATCHED_S = 20.0
LATE_S = 120.0


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(median(values), 3), "most": round(max(values), 3), "rounds": len(values)}


def losses_and_returns(bundle: Path, clip: Path, folder: Path, hop_s: float) -> dict[str, Any]:
    """Kill and hang a server again and again: seconds from the deed to the event, from the return to a prediction."""
    taken: dict[str, list[float]] = {
        name: [] for name in ("kill noticed", "kill recovered", "kill live", "hang noticed", "hang live")
    }
    with RtspServer(clip) as server, LiveRun(folder, bundle, f"cam={server.url}", "--hop", hop_s) as run:
        for _ in range(ROUNDS):
            run.wait_for("vision", "live", timeout_s=30)
            known, started = len(run.events), time.monotonic()
            server.kill()
            run.wait_for_event("vision", "missing", known)
            taken["kill noticed"].append(time.monotonic() - started)
            run.wait_for("vision", "missing")
            server.start()
            started = time.monotonic()
            run.wait_for("vision", "recovering", "live", timeout_s=30)
            taken["kill recovered"].append(time.monotonic() - started)
            run.wait_for("vision", "live", timeout_s=30)
            taken["kill live"].append(time.monotonic() - started)
            time.sleep(1.0)
            known, started = len(run.events), time.monotonic()
            server.hang()
            run.wait_for_event("vision", "missing", known)
            taken["hang noticed"].append(time.monotonic() - started)
            run.wait_for("vision", "missing")
            server.go_on()
            started = time.monotonic()
            run.wait_for("vision", "live", timeout_s=30)
            taken["hang live"].append(time.monotonic() - started)
            time.sleep(1.0)
    return {name: spread(values) for name, values in taken.items()}


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def page_cost(bundle: Path, clip: Path, folder: Path) -> dict[str, Any]:
    """The processor time of a run with no page open, with twenty, and with none again."""
    port = free_port()
    shares, received = [], [0]
    with RtspServer(clip) as server:
        words = (f"cam={server.url}", "--hop", 1.0, "--serve", f"127.0.0.1:{port}")
        with LiveRun(folder, bundle, *words) as run:
            run.wait_for("audio", "live", timeout_s=30)
            for watchers in (0, WATCHERS, 0, WATCHERS, 0):
                over = threading.Event()
                threads = [threading.Thread(target=watch, args=(port, over, received)) for _ in range(watchers)]
                for thread in threads:
                    thread.start()
                time.sleep(2.0)
                before, started = processor_s(run.process.pid), time.monotonic()
                time.sleep(WATCHED_S)
                shares.append((processor_s(run.process.pid) - before) / (time.monotonic() - started))
                over.set()
                for thread in threads:
                    thread.join()
    alone = median([shares[0], shares[2], shares[4]])
    return {
        "watchers": WATCHERS,
        "share_of_a_core_without": round(alone, 4),
        "share_of_a_core_with": round(median([shares[1], shares[3]]), 4),
        "share_for_the_page": round(median([shares[1], shares[3]]) - alone, 4),
        "messages_a_second_each": round(received[0] / WATCHERS / (2 * WATCHED_S + 4), 1),
        "page_bytes": sum(file.stat().st_size for file in (ROOT / "taemi_edge" / "live" / "page").iterdir()),
    }


def watch(port: int, over: threading.Event, received: list[int]) -> None:
    with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as page:
        while not over.is_set():
            try:
                page.recv(timeout=1)
                received[0] += 1
            except TimeoutError:
                continue
            except ConnectionClosed:
                return


def late_hops(bundle: Path, clip: Path, folder: Path) -> dict[str, Any]:
    """Two minutes at a hop a second without faults."""
    with RtspServer(clip) as server:
        words = (f"cam={server.url}", "--hop", 1.0, "--duration", LATE_S)
        with LiveRun(folder, bundle, *words) as run:
            run.wait(LATE_S + 60)
            totals = sorted(p["latency_ms"]["total"] for p in run.predictions)
            return {
                "summary": run.log[-1],
                "median_ms": round(median(totals), 1),
                "p99_ms": round(totals[int(len(totals) * 0.99)], 1),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = long_clip(fetch_real_clip(), folder / "lasting.mkv", 900)
        report = {
            "command": " ".join(["python", *sys.argv]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}",
            "bundle": words.bundle.name,
            "hop_0.5_s": losses_and_returns(words.bundle, clip, folder, 0.5),
            "hop_1_s": losses_and_returns(words.bundle, clip, folder, 1.0),
            "page": page_cost(words.bundle, clip, folder),
            "late": late_hops(words.bundle, clip, folder),
            "revision": subprocess.run(
                ["/usr/bin/git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False
            ).stdout.strip(),
        }
    words.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
