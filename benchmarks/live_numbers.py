"""Ten thousand rows a second into a live run on one core: python benchmarks/live_numbers.py --output F.json

A model of one series reads rows of six numbers, each sent in a message of its own, as a datagram or through an MQTT
broker: as JSON with the time, and packed without one. The run has one core; the sender and the broker have the others.
Says how many hops were made, late and missed, how many rows came and were lost, how much of the core it took, and how
long after the last row the run said that the sensor is gone. At the end the sender sends as fast as it can. The first
number of a row says which it is, so that lost ones are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

HOP_S = 0.5
#: What the first hops show is the start of the run.
WARM_UP_S = 3.0
FORMS = ("udp-json", "udp-packed", "mqtt-json", "mqtt-packed")


def make_bundle(folder: Path) -> Path:
    """A model of one series: six numbers, 200 times a second."""
    import torch

    import taemi_edge as te

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = torch.nn.Linear(32, 3)

        def forward(self, imu: Any, imu_mask: Any) -> Any:
            mask = imu_mask.unsqueeze(-1).float()
            return {"state": self.out((imu * mask).sum(1) / mask.sum(1).clamp(min=1))}

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32))
    model = te.Model(
        streams={"imu": te.Stream(te.Series(6, rate_hz=200.0, chunk_s=0.25), encoder, missing="mask")},
        head=Head(),
        outputs={"state": te.Classes(("rest", "walk", "run"))},
        samples=[{"imu/values": random.normal(size=(300 + 50 * n, 6)).astype(np.float32)} for n in range(3)],
        window_s=2.0,
        hop_s=HOP_S,
    )
    te.export_model(model, folder / "imu")
    return folder / "imu"


def message(form: str, number: int) -> bytes:
    """A row whose first number says which it is."""
    row = (float(number % 10_000_000), 0.125, -0.25, 9.75, 0.0, 1.5)
    if form.endswith("packed"):
        return struct.pack("<6f", *row)
    return json.dumps({"time_s": time.time(), "values": row}).encode()


def send(form: str, port: int, rate: float, seconds: float) -> None:
    """Send rows for some time, evenly; as many as possible where the rate is 0."""
    put, close = _sender(form, port)
    began, number = time.monotonic(), 0
    while (passed_s := time.monotonic() - began) < seconds:
        due = number + 500 if not rate else int(passed_s * rate)
        while number < due:
            put(message(form, number))
            number += 1
        if rate:
            time.sleep(0.0005)
    close()


def _sender(form: str, port: int) -> tuple[Callable[[bytes], object], Callable[[], object]]:
    if form.startswith("udp"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return lambda content: sender.sendto(content, ("127.0.0.1", port)), sender.close
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()

    def put(content: bytes) -> None:
        client.publish("robots/imu", content)
        while client._out_packet and len(client._out_packet) > 1000:  # else a flood stays in this process
            time.sleep(0.001)

    return put, client.disconnect


def counting() -> Any:
    """An output that counts what comes."""
    from taemi_edge.live.events import PresenceEvent
    from taemi_edge.live.outputs.output import BaseOutput, HopResult

    class Count(BaseOutput):
        rows = lost = live = hops = 0
        newest = -1.0
        began = ended = (0.0, 0.0)
        newest_s = noticed_s = 0.0

        def __init__(self) -> None:
            self.reasons: Counter[str] = Counter()

        def on_hop(self, result: HopResult) -> None:
            if result.hop.end_s < WARM_UP_S:
                self.began = time.process_time(), time.monotonic()
                return
            pieces = result.hop.pieces["imu"]
            if sum(len(values.rows) for values in pieces) < 10:  # the sender has stopped
                return
            self.hops += 1
            self.ended = time.process_time(), time.monotonic()
            self.live += result.prediction.presence["imu"] == "live"
            self.reasons.update(result.prediction.reason.values())
            for values in pieces:
                numbers = values.rows[:, 0]
                self.rows += len(numbers)
                if self.newest >= 0:
                    self.lost += int(numbers[-1] - self.newest) - len(numbers)
                self.newest, self.newest_s = float(numbers[-1]), float(values.times_s[-1])

        def on_event(self, event: PresenceEvent) -> None:
            if event.after == "missing":
                self.noticed_s = event.time_s

    return Count()


def run(bundle: Path, address: str, seconds: float) -> dict[str, Any]:
    """Run the model on what comes, and say how it went."""
    import taemi_edge as te
    from taemi_edge.live.config import load_live_config
    from taemi_edge.live.run import run_live

    count = counting()
    given = {"source": [{"name": "rig", "streams": {"imu": address}}], "duration_s": seconds}
    with te.load(bundle, device="cpu", threads=1) as model:
        summary = run_live(model.bundle, load_live_config(None, given), outputs=[count])
    used_s, passed_s = (after - before for before, after in zip(count.began, count.ended, strict=True))
    noticed_after_s = count.noticed_s - count.newest_s
    return {
        "rows_a_second": round(count.rows / passed_s),
        "rows": count.rows,
        "rows_lost": count.lost,
        "hops": summary.counts.made,
        "late": summary.counts.late,
        "missed": summary.counts.missed,
        "hops_live": f"{count.live} of {count.hops}",
        "reasons": dict(count.reasons),
        "share_of_the_core": round(used_s / passed_s, 3),
        "reconnects": summary.reconnects,
        "loss_noticed_after_s": round(noticed_after_s, 2) if noticed_after_s > 0 else None,
    }


def measure(bundle: Path, form: str, rate: float, seconds: float) -> dict[str, Any]:
    """One run on the first core, with its sender on the others."""
    from tests.live.sensors import Mosquitto
    from tests.live.servers import free_port

    cores = sorted(os.sched_getaffinity(0))
    here, there = {cores[0]}, set(cores[1:] or cores)
    me = [sys.executable, __file__]
    with tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(0, there)  # what is started here inherits it
        broker = Mosquitto(Path(folder), lines="log_type error\n") if form.startswith("mqtt") else None
        port = free_port() if broker is None else broker.port
        address = f"udp://127.0.0.1:{port}" if broker is None else f"mqtt://127.0.0.1:{port}/robots/imu"
        address += "?format=<6f" if form.endswith("packed") else ""
        try:
            if broker is not None:
                broker.start()
                time.sleep(1.0)
            words = ["--send", form, "--port", str(port), "--rate", str(rate), "--seconds", str(seconds - 2)]
            sender = subprocess.Popen([*me, *words])
            try:
                words = ["--run", address, "--bundle", str(bundle), "--seconds", str(seconds)]
                done = subprocess.run(
                    [*me, *words], stdout=subprocess.PIPE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, here)
                )
            finally:
                sender.kill()
                sender.wait()
        finally:
            if broker is not None:
                broker.kill()
            os.sched_setaffinity(0, set(cores))
    figures: dict[str, Any] = json.loads(done.stdout)
    return {"form": form, "sent_a_second": rate or "as many as possible", **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10_000.0, help="rows a second; 0 for as many as possible")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run")
    parser.add_argument("--form", choices=FORMS, action="append", help="repeatable; all by default")
    parser.add_argument("--no-flood", action="store_true", help="leave out the runs with as many rows as possible")
    parser.add_argument("--output", type=Path, help="write the figures there as JSON")
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    for hidden in ("--run", "--send"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.send:
        send(given.send, given.port, given.rate, given.seconds)
        return
    if given.run:
        sys.stdout.write(json.dumps(run(given.bundle, given.run, given.seconds)))
        return
    forms = given.form or FORMS
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder))
        rows = [measure(bundle, form, given.rate, given.seconds) for form in forms]
        if not given.no_flood:
            rows += [measure(bundle, form, 0.0, given.seconds) for form in forms if form.endswith("json")]
    report = {"runs": rows}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    if given.output:
        from taemi_edge.bench.provenance import write_report

        write_report(given.output, report, "paho-mqtt")


if __name__ == "__main__":
    main()
