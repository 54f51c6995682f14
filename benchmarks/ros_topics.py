"""Topics of ROS 2 over Zenoh: python benchmarks/ros_topics.py --output benchmarks/ros-topics.json

How soon the loss of a node is noticed, with its liveliness token and without; and whether a run on one core keeps its
hops while an IMU sends ten thousand messages a second. Nodes, router and runs are processes of their own; nodes speak
as rmw_zenoh does (tests/live/ros/publisher.py). The model is a small one of random weights: the figures are those
of reading. Times are wall times of this machine; the network is the loopback. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from tests.live.ros.network import RosNetwork, end
from tests.live.running import LiveRun
from tests.robots.model import export_robot

IMU = "sensor_msgs/msg/Imu"


def losses(bundle: Path, folder: Path, rounds: int, token: bool) -> dict[str, Any]:
    """Kill a node again and again: seconds until the event of its loss is written."""
    noticed: list[float] = []
    words = () if token else ("--no-tokens",)
    with RosNetwork() as network:
        node = network.node("/imu", IMU, "--rate", "200", *words)
        place = f"wrist=ros:/imu?router={network.router}"
        with LiveRun(folder, bundle, "--stream", place, cwd=ROOT) as run:
            for number in range(rounds):
                run.wait_until(lambda: _state(run) == "live", 30)
                time.sleep(0.7 + 0.1 * (number % 5))  # at another moment of the hop in each round
                killed_s = time.monotonic()
                end(node)
                run.wait_until(lambda: _state(run) == "missing", 30)
                noticed.append(time.monotonic() - killed_s)
                node = network.node("/imu", IMU, "--rate", "200", *words)
            run.stop()
    return {"median_s": round(median(noticed), 3), "most_s": round(max(noticed), 3), "rounds": rounds}


def _state(run: LiveRun) -> str:
    """The state of the stream, as the events say it."""
    states = [event["to"] for event in run.events if event["modality"] == "wrist"]
    return str(states[-1]) if states else ""


def flood(bundle: Path, folder: Path, rate_hz: int, seconds: float) -> dict[str, Any]:
    """Run on one core while a node on the others sends many messages: hops that were late or missed, and CPU time."""
    cores = sorted(os.sched_getaffinity(0))
    with RosNetwork() as network:
        os.sched_setaffinity(0, set(cores[1:] or cores))
        network.node("/imu", IMU, "--rate", str(rate_hz))
        os.sched_setaffinity(0, set(cores[:1]))
        place = f"wrist=ros:/imu?router={network.router}"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            with LiveRun(folder, bundle, "--stream", place, "--duration", seconds, cwd=ROOT) as run:
                run.wait(seconds + 60)
        finally:
            os.sched_setaffinity(0, set(cores))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = "\n".join(run.log)
    summary = re.search(r"(\d+) hops in ([\d.]+) s, (\d+) late .*?, (\d+) missed", text)
    lost = sum(int(count) for count in re.findall(r"(\d+) of its messages were lost", text))
    if summary is None:
        raise SystemExit(f"expected a summary of the run, got {text[-500:]}")
    live = [prediction for prediction in run.predictions if prediction["presence"]["wrist"] == "live"]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "messages_per_second": rate_hz,
        "hops": int(summary[1]),
        "hops_with_the_stream_live": len(live),
        "late": int(summary[3]),
        "missed": int(summary[4]),
        "messages_lost_at_the_start": lost,
        "cpu_share_of_one_core_with_start": round(cpu_s / float(summary[2]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = export_robot(folder / "robot")
        figures = {
            "loss_noticed_by_token": losses(bundle, folder, asked.rounds, token=True),
            "loss_noticed_without_token": losses(bundle, folder, max(asked.rounds // 2, 1), token=False),
            "flood": flood(bundle, folder, 10_000, asked.seconds),
        }
    print(json.dumps(figures, indent=2))
    if asked.output:
        write_report(asked.output, figures, "eclipse-zenoh", "rosbags")


if __name__ == "__main__":
    main()
