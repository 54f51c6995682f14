"""How soon losses are noticed and streams recover; the page's cost: python benchmarks/live.py BUNDLE --output F.json

Real servers are killed, hung and started again; twenty pages watch. Needs Debian's gst-rtsp-server
(tools/install_test_servers.sh); times are wall times of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import av
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from taemi_edge.bench.provenance import write_report
from tests.conftest import fetch_real_clip
from tests.live.running import LiveRun
from tests.live.servers import HttpServer, RtspServer, free_port, long_clip, transport_stream

ROUNDS = 6
WATCHERS = 20
WATCHED_S = 20.0
LATE_S = 120.0
LARGE_S = 40.0


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(median(values), 3), "most": round(max(values), 3), "rounds": len(values)}


def losses_and_returns(bundle: Path, clip: Path, folder: Path, hop_s: float) -> dict[str, Any]:
    """Kill and hang a server again and again: seconds until the loss is noticed, and until predictions use it again."""
    taken: dict[str, list[float]] = {
        name: [] for name in ("kill noticed", "kill recovered", "kill live", "hang noticed", "hang live")
    }
    with RtspServer(clip) as server, LiveRun(folder, bundle, f"cam={server.url}", "--hop", hop_s) as run:
        for _ in range(ROUNDS):
            run.wait_for("vision", "live", timeout_s=30)
            for name, fault, repair in (("kill", server.kill, server.start), ("hang", server.hang, server.go_on)):
                for what, seconds in time_fault(run, fault, repair).items():
                    taken.get(f"{name} {what}", []).append(seconds)  # "hang recovered" is no figure of the report
                time.sleep(1.0)
    return {name: spread(values) for name, values in taken.items()}


def time_fault(run: LiveRun, fault: Callable[[], object], repair: Callable[[], object]) -> dict[str, float]:
    """Seconds from a fault to its event, and from its repair to "recovering" and to "live"."""
    known, started = len(run.events), time.monotonic()
    fault()
    run.wait_for_event("vision", "missing", known)
    times = {"noticed": time.monotonic() - started}
    run.wait_for("vision", "missing")
    repair()
    started = time.monotonic()
    for what, states in (("recovered", ("recovering", "live")), ("live", ("live",))):
        run.wait_for("vision", *states, timeout_s=30)
        times[what] = time.monotonic() - started
    return times


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


def large_clip(source: Path, target: Path) -> Path:
    """Four seconds of the clip at 3840 x 2160 and 60 frames a second, with a sensor's noise, two B-frames of three."""
    with av.open(str(source)) as reader:
        small = [frame for _, frame in zip(range(30), reader.decode(video=0), strict=False)]
    with av.open(str(source)) as reader:
        sound = [frame for frame in reader.decode(audio=0) if frame.time < 4.0]
    chance = np.random.default_rng(0)
    noise = chance.integers(-5, 6, (2360, 4040)).astype(np.int16)
    with av.open(str(target), "w", format="mpegts") as writer:
        video: Any = writer.add_stream("libx264", rate=60)
        video.width, video.height, video.pix_fmt = 3840, 2160, "yuv420p"
        settings = "bframes=2:b-adapt=0:cabac=1:ref=2"
        video.options = {"preset": "ultrafast", "crf": "20", "g": "60", "x264-params": settings}
        audio: Any = writer.add_stream("aac", rate=sound[0].sample_rate)
        for index in range(240):
            planes = small[index // 2 % 30].reformat(3840, 2160, "yuv420p", interpolation="BICUBIC").to_ndarray()
            down, right = chance.integers(0, 200, 2)
            grain = noise[down : down + 2160, right : right + 3840]
            planes[:2160] = np.clip(planes[:2160].astype(np.int16) + grain, 0, 255)
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            picture.pts = index
            writer.mux(video.encode(picture))
            while sound and sound[0].time * 60 <= index:
                writer.mux(audio.encode(sound.pop(0)))
        for stream in (video, audio):
            writer.mux(stream.encode(None))
    return target


def too_large(bundle: Path, folder: Path) -> dict[str, Any]:
    """4K at 60 frames a second with one core to decode it on: half of what it takes."""
    stream = transport_stream(large_clip(fetch_real_clip(), folder / "large.ts"), LARGE_S + 10)
    with HttpServer({"/live.ts": stream}) as server:
        words = (f"cam={server.url}/live.ts", "--hop", 1.0, "--duration", LARGE_S)
        with LiveRun(folder, bundle, *words, preexec_fn=lambda: os.sched_setaffinity(0, {0})) as run:
            run.wait(LARGE_S + 60)
            states = [p["presence"]["vision"] for p in run.predictions]
            ages_ms = [age for p in run.predictions if (age := p["age_ms"]["vision"]) is not None]
            return {
                "summary": run.log[-1],
                "hops": {state: states.count(state) for state in sorted(set(states))},
                "age_ms": {"median": median(ages_ms), "most": max(ages_ms)},
                "sound_live": sum(p["presence"]["audio"] == "live" for p in run.predictions),
                "reliefs": [line.split("WARNING ")[1] for line in run.log if "left out" in line],
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
            "bundle": words.bundle.name,
            "hop_0.5_s": losses_and_returns(words.bundle, clip, folder, 0.5),
            "hop_1_s": losses_and_returns(words.bundle, clip, folder, 1.0),
            "page": page_cost(words.bundle, clip, folder),
            "late": late_hops(words.bundle, clip, folder),
            "4K_at_60_on_one_core": too_large(words.bundle, folder),
        }
    write_report(words.output, report, "av")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
