"""A live run under random faults for as long as asked: python -m tests.live.soak BUNDLE --minutes 30

Two cameras on real RTSP servers, a transcript on a socket and pages that watch, each of which fails again and again,
while every prediction is checked: on time, finite, and labelled with what its streams really were. Memory, threads and
descriptors are read all the while and must not grow. Exit 1 where anything was not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from taemi_edge.bench.provenance import write_report
from tests.conftest import fetch_real_clip
from tests.live.running import LiveRun, was_needlessly_encoded
from tests.live.servers import Relay, RtspServer, free_port, long_clip, rtsp_server_is_there

#: What is promised: a loss is noticed within this, and a server's return within that.
NOTICE_S, RECOVER_S = 1.5, 2.0
#: A hang, and a line that swallows everything, need a connection to be given up first.
RECOVER_FROM_SILENCE_S = 7.0
#: The watch looks ten times a second, and events are read as a file.
SLACK_S = 0.25
WARM_UP_SHARE = 0.4
GROWTH_MB, GROWTH_COUNT = 40.0, 4


@dataclass
class Soak:
    """What is going on, and what was seen."""

    run: LiveRun
    servers: dict[str, RtspServer]
    relay: Relay
    words: Path
    page: str
    chance: random.Random
    hop_s: float
    #: How much longer than promised things may take, on cores that others share.
    patience: float
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    noticed_s: list[float] = field(default_factory=list)
    recovered_s: dict[str, list[float]] = field(default_factory=dict)
    usage: list[tuple[float, int, int, float]] = field(default_factory=list)
    #: Moments of the faults, since the start, for the picture.
    moments: list[tuple[float, str]] = field(default_factory=list)
    speaker: socket.socket | None = None

    def check(self, holds: object, problem: str) -> None:
        if not holds:
            self.problems.append(f"{time.strftime('%H:%M:%S')} {problem}")
            sys.stdout.write(f"PROBLEM {problem}\n")

    def last(self, source: str) -> dict[str, Any]:
        return next((p for p in reversed(self.run.predictions) if p["source"] == source), {})

    def wait(self, holds: Callable[[], object], most_s: float) -> float | None:
        """Seconds until something held; None where it did not."""
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > most_s or self.run.process.poll() is not None:
                return None
            time.sleep(0.02)
        return time.monotonic() - started

    def expect_loss(self, source: str, modality: str, known: int, kind: str) -> None:
        """The event comes in time, and the token is in place with the hop after it."""

        found: list[float] = []

        def told() -> bool:
            new = self.run.events[known:]
            wanted = (source, modality, "missing")
            found[:] = [e["time_s"] for e in new if (e["source"], e["modality"], e["to"]) == wanted]
            return bool(found)

        took_s = self.wait(told, NOTICE_S + 3)
        self.check(
            took_s is not None and took_s < NOTICE_S * self.patience + SLACK_S, f"{kind}: noticed after {took_s} s"
        )
        if took_s is None:
            return
        self.noticed_s.append(took_s)
        self.wait(lambda: self.last(source).get("time_s", 0.0) >= found[0], 3 * self.hop_s + 2)
        state = self.last(source)["presence"][modality]
        self.check(state == "missing", f"{kind}: {source} {modality} is {state} in the hop after its loss was noticed")

    def expect_return(self, source: str, modality: str, kind: str, promised_s: float) -> None:
        took_s = self.wait(lambda: self.last(source)["presence"][modality] != "missing", 30)
        allowed_s = promised_s * self.patience + self.hop_s + 0.5
        self.check(took_s is not None and took_s < allowed_s, f"{kind}: {source} {modality} back after {took_s} s")
        if took_s is not None:
            self.recovered_s.setdefault(kind, []).append(took_s)

    def steady(self) -> None:
        """All streams of both cameras are there."""
        for source in self.servers:
            back_s = self.wait(
                lambda source=source: all(  # type: ignore[misc]
                    self.last(source).get("presence", {}).get(m) in ("live", "stale") for m in ("vision", "audio")
                ),
                30,
            )
            self.check(back_s is not None, f"{source} did not become steady: {self.last(source).get('reason')}")

    # ------------------------------------------------------------------------------------------------- faults

    def kill(self) -> None:
        source = self.chance.choice(list(self.servers))
        known = len(self.run.events)
        self.servers[source].kill()
        self.expect_loss(source, "vision", known, "kill")
        time.sleep(self.chance.choice((0.0, 0.5, 3.0)))
        self.servers[source].start()
        self.expect_return(source, "vision", "kill", RECOVER_S)

    def hang(self) -> None:
        source = self.chance.choice(list(self.servers))
        known = len(self.run.events)
        self.servers[source].hang()
        self.expect_loss(source, "vision", known, "hang")
        time.sleep(self.chance.choice((0.0, 2.0)))
        self.servers[source].go_on()
        self.expect_return(source, "vision", "hang", RECOVER_FROM_SILENCE_S)

    def half_open(self) -> None:
        known = len(self.run.events)
        self.relay.swallow.set()
        self.expect_loss("door", "audio", known, "half-open")
        time.sleep(self.chance.choice((0.0, 2.0)))
        self.relay.swallow.clear()
        self.expect_return("door", "audio", "half-open", RECOVER_FROM_SILENCE_S)

    def lose_track(self) -> None:
        source, (track, modality) = (
            self.chance.choice(list(self.servers)),
            self.chance.choice((("audio", "audio"), ("video", "vision"))),
        )
        other = {"audio": "vision", "vision": "audio"}[modality]
        known = len(self.run.events)
        self.servers[source].tell(f"drop {track} on")
        self.expect_loss(source, modality, known, f"one track: {track}")
        state = self.last(source)["presence"][other]
        self.check(state in ("live", "stale"), f"one track: {source} {other} is {state} while {modality} is lost")
        self.servers[source].tell(f"drop {track} off")
        self.expect_return(source, modality, f"one track: {track}", 6.0)  # a picture waits for its next key frame

    def speak(self) -> None:
        """Words, rubbish, and a sender that hangs up."""
        if self.speaker is None:
            self.speaker = socket.socket(socket.AF_UNIX)
            self.speaker.connect(str(self.words))
        self.speaker.sendall(b'{"text": "two years of negotiations", "source": "cam"}\n\xff\xfe{"text"\n{}\n')
        said = self.wait(lambda: self.last("cam")["presence"]["text"] == "live", 3 * self.hop_s + 2)
        self.check(said is not None, "words that were sent are not live")
        if self.chance.random() < 0.5:
            known = len(self.run.events)
            self.speaker.close()
            self.speaker = None
            self.expect_loss("cam", "text", known, "transcript hung up")

    def watch(self) -> None:
        """Pages that come, read or do not, and go."""
        host, port = "127.0.0.1", int(self.page.rpartition(":")[2])
        upgrade = (
            f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                client = stack.enter_context(socket.create_connection((host, port)))
                client.sendall(upgrade.encode())
            time.sleep(self.chance.uniform(0.5, 3.0))
        with urllib.request.urlopen(f"{self.page}/metrics", timeout=10) as answer:
            self.check(b"taemi_edge_hops_total" in answer.read(), "no metrics")

    # ------------------------------------------------------------------------------------------------ the whole

    def go_on(self, seconds: float) -> Iterator[float]:
        """One fault after another; gives the seconds that have passed."""
        kinds = (self.kill, self.hang, self.half_open, self.lose_track, self.speak, self.watch)
        started = time.monotonic()
        while (passed_s := time.monotonic() - started) < seconds and self.run.process.poll() is None:
            fault = self.chance.choice(kinds)
            self.faults[fault.__name__] += 1
            self.moments.append((passed_s, fault.__name__))
            fault()
            self.steady()
            time.sleep(self.chance.uniform(0.2, 1.5))
            threads, descriptors, memory_mb = self.run.usage()
            self.usage.append((time.monotonic() - started, threads, descriptors, memory_mb))
            yield time.monotonic() - started

    def judge(self, missed: int) -> None:
        """What all predictions together must be, and what must not have grown."""
        for source in self.servers:
            predictions = [p for p in self.run.predictions if p["source"] == source]
            times_s = [p["time_s"] for p in predictions]
            gone = sum(round((b - a) / self.hop_s) - 1 for a, b in pairwise(times_s))
            if not any("degraded" in p for p in predictions):  # longer hops lie on another grid
                self.check(gone == missed, f"{source}: {gone} hops are not there, {missed} were counted as missed")
            for before, prediction, after in zip(predictions, predictions[1:], predictions[2:], strict=False):
                self._judge_one(before, prediction, after)
        # memory pools grow until every shape of call has been seen once, which takes minutes
        early = [u for u in self.usage if u[0] >= WARM_UP_SHARE * self.usage[-1][0]] or self.usage
        first, last = early[: max(1, len(early) // 4)], early[-max(1, len(early) // 4) :]
        for index, name, most in ((1, "threads", GROWTH_COUNT), (2, "descriptors", GROWTH_COUNT), (3, "MB", GROWTH_MB)):
            # the least of a stretch: a connection that is just being made has threads of its own
            grown = min(u[index] for u in last) - min(u[index] for u in first)
            self.check(grown <= most, f"{grown:.0f} {name} more than in the beginning")

    def _judge_one(self, before: dict[str, Any], prediction: dict[str, Any], after: dict[str, Any]) -> None:
        """Finite, with a reason for all that is not live; an encoder whose stream stays missing does not run."""
        where = f"{prediction['source']} at {prediction['time_s']} s"
        self.check(all(map(math.isfinite, prediction["intensities"].values())), f"{where}: an intensity is no number")
        for modality, state in prediction["presence"].items():
            self.check(
                (state == "live") == (modality not in prediction["reason"]), f"{where}: {modality} has no reason"
            )
            gone = {p["presence"][modality] for p in (before, prediction, after)} == {"missing"}
            ran = was_needlessly_encoded(prediction, modality)
            self.check(not (gone and ran), f"{where}: {modality} is missing and was encoded")


def soak(bundle: Path, source: Path, minutes: float, seed: int, hop_s: float, patience: float) -> dict[str, Any]:
    """Run it, and say what was seen."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        clip = long_clip(source, folder / "lasting.mkv", 600)  # a server that was killed begins anew
        words, port = folder / "words.sock", free_port()
        with RtspServer(clip) as cam, RtspServer(clip) as door, Relay(door.port) as relay:
            sources = (f"cam={cam.url}", f"door=rtsp://127.0.0.1:{relay.port}/live")
            options = ("--serve", f"127.0.0.1:{port}", "--transcript", f"unix:{words}", "--hop", hop_s)
            with LiveRun(folder, bundle, *sources, *options) as run:
                page = f"http://127.0.0.1:{port}"
                state = Soak(run, {"cam": cam, "door": door}, relay, words, page, random.Random(seed), hop_s, patience)
                state.wait(lambda: run.predictions, 60)
                state.steady()
                for passed_s in state.go_on(minutes * 60):
                    done = f"{passed_s / 60:.1f} of {minutes:g} min, {sum(state.faults.values())} faults"
                    sys.stdout.write(f"{done}, {state.usage[-1][1:]}\n")
                    sys.stdout.flush()
                with urllib.request.urlopen(f"{page}/healthz", timeout=10) as answer:
                    health = json.load(answer)
                state.check(run.process.poll() is None, "the run ended by itself")
                state.check(run.stop() == 0, "it did not stop in order")
            state.judge(health["missed"])
    return _report(state, minutes, seed, health)


def _report(state: Soak, minutes: float, seed: int, health: dict[str, Any]) -> dict[str, Any]:
    def spread(values: list[float]) -> dict[str, float]:
        ordered = sorted(values) or [float("nan")]
        return {"median": round(ordered[len(ordered) // 2], 2), "most": round(ordered[-1], 2), "count": len(values)}

    usage = state.usage
    return {
        "minutes": minutes,
        "seed": seed,
        "faults": dict(state.faults),
        "noticed_s": spread(state.noticed_s),
        "recovered_s": {kind: spread(values) for kind, values in state.recovered_s.items()},
        "predictions": len(state.run.predictions),
        "hops": {key: health[key] for key in ("hops", "late", "missed")},
        "late_share": round((health["late"] + health["missed"]) / max(1, health["hops"] + health["missed"]), 4),
        "threads": [usage[0][1], usage[-1][1]],
        "descriptors": [usage[0][2], usage[-1][2]],
        "memory_mb": [round(usage[0][3]), round(usage[-1][3])],
        "problems": state.problems,
        "usage": [[round(value, 1) for value in row] for row in usage],
        "moments": [[round(at_s, 1), kind] for at_s, kind in state.moments],
    }


def draw(report: dict[str, Any], file: Path) -> None:
    """Memory, descriptors and threads over time, with the faults below."""
    from taemi_edge.pictures import new_figure

    figure = new_figure((9.0, 5.0))
    axes = figure.subplots(2, 1, sharex=True)
    minutes = [row[0] / 60 for row in report["usage"]]
    for column, name in ((2, "descriptors"), (1, "threads")):
        axes[0].plot(minutes, [row[column] for row in report["usage"]], label=name)
    axes[0].plot(minutes, [row[3] / 10 for row in report["usage"]], label="memory / 10 MB")
    axes[0].legend(loc="center right")
    axes[0].set_ylim(bottom=0)
    kinds = sorted({kind for _, kind in report["moments"]})
    for at_s, kind in report["moments"]:
        axes[1].plot(at_s / 60, kinds.index(kind), "|", color="black")
    axes[1].set_yticks(range(len(kinds)), kinds)
    axes[1].set_xlabel("minutes")
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hop", type=float, default=1.0)
    parser.add_argument("--most-late", type=float, default=0.01, help="the share of hops that may be late or missed")
    parser.add_argument("--patience", type=float, default=1.0, help="how much longer things may take on shared cores")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    words = parser.parse_args()
    if not rtsp_server_is_there():
        sys.stdout.write("soak left out: Debian's gst-rtsp-server is not installed (tools/install_test_servers.sh)\n")
        return
    try:
        source = fetch_real_clip()
    except ConnectionError as error:
        sys.stdout.write(f"soak left out: {error}\n")
        return
    report = soak(words.bundle, source, words.minutes, words.seed, words.hop, words.patience)
    if report["late_share"] > words.most_late:
        report["problems"].append(f"{report['late_share']:.1%} of hops late or missed, {words.most_late:.1%} allowed")
    if words.json:
        write_report(words.json, report, "av")
    if words.plot:
        draw(report, words.plot)
    shown = {key: value for key, value in report.items() if key not in ("usage", "moments")}
    sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    sys.exit(bool(report["problems"]))


if __name__ == "__main__":
    main()
