"""What it costs to record a live run, or to let Foxglove watch it: processor time, hops that came late, MB a minute.

    python benchmarks/recording_cost.py export/taemi-mobile --output benchmarks/recording-cost.json

Each trial is `taemi-edge run` as its users start it, in turn: without a recording, with one as H.264, as JPEG, without
loss, and with a viewer of Foxglove's WebSocket protocol who watches everything. The source is a camera of 640 x 480 at
15 pictures a second with sound (the demo's clip, enlarged, again and again). A second part sends rows of a series
through the same channels as fast as they go: how many a second one core could record.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import av
import cv2
import numpy as np

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import open_bundle
from tests.live.servers import free_port

DEMO = ROOT / "taemi_edge" / "assets" / "demo.mp4"
WAYS: dict[str, list[str]] = {
    "nothing": [],
    "H.264": ["--record", "{folder}/run.mcap"],
    "JPEG": ["--record", "{folder}/run.mcap", "--set", "mcap.pictures=jpeg"],
    "lossless": ["--record", "{folder}/run.mcap", "--lossless"],
    "viewer": ["--foxglove", "127.0.0.1:{port}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each trial")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        camera = camera_clip(Path(folder) / "camera.mkv")
        trials: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for number in range(given.rounds):
            for way in WAYS:
                trial = run_once(given.bundle, camera, way, Path(folder) / f"{way}-{number}", given.seconds)
                trials[way].append(trial)
                print(way, trial, flush=True)
    result = {
        "model": open_bundle(given.bundle).manifest.name,
        "seconds": given.seconds,
        "rounds": given.rounds,
        "ways": {way: summed_up(found, trials["nothing"]) for way, found in trials.items()},
        "rows_per_core_second": rows_per_second(),
    }
    print(json.dumps(result, indent=1))
    if given.output:
        write_report(given.output, result, "av", "foxglove-sdk", "mcap")


def camera_clip(file: Path) -> Path:
    """The demo's clip as a camera of 640 x 480 at 15 pictures a second would send it, with its sound."""
    with av.open(str(DEMO)) as source, av.open(str(file), "w") as target:
        video: Any = target.add_stream("libx264", rate=15)
        video.width, video.height, video.pix_fmt, video.options = 640, 480, "yuv420p", {"preset": "veryfast"}
        sound: Any = target.add_stream("flac", rate=16_000, layout="mono")
        resampler = av.AudioResampler("s16", "mono", 16_000)
        wanted = 0
        for frame in source.decode():
            if isinstance(frame, av.AudioFrame):
                for piece in resampler.resample(frame):
                    target.mux(sound.encode(piece))
            elif frame.time >= wanted / 15:
                pixels = cv2.resize(frame.to_ndarray(format="rgb24"), (640, 480), interpolation=cv2.INTER_CUBIC)
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                picture.pts, picture.time_base = wanted, Fraction(1, 15)
                target.mux(video.encode(picture))
                wanted += 1
        for stream in (video, sound):
            target.mux(stream.encode(None))
    return file


def run_once(bundle: Path, camera: Path, way: str, folder: Path, seconds: float) -> dict[str, float]:
    """One live run, and what it took."""
    folder.mkdir()
    port = free_port()
    words = [word.format(folder=folder, port=port) for word in WAYS[way]]
    command = [sys.executable, "-m", "taemi_edge", "run", str(bundle), f"cam={camera}", "--live", "--loop", *words]
    command += ["--duration", str(seconds), "--threads", "1", "--output", str(folder / "out.jsonl")]
    before = os.times()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        stop = threading.Event()
        viewer = threading.Thread(target=watch_all, args=(port, stop), daemon=True)
        if way == "viewer":
            viewer.start()
        _, said = process.communicate()
        stop.set()
    after = os.times()
    counts = re.search(r"(\d+) hops in ([\d.]+) s, (\d+) late.*?(\d+) missed", said)
    if process.returncode or counts is None:
        raise SystemExit(f"{way}: the run failed:\n{said}")
    left_out = re.search(r"(\d+) (?:MCAP|Foxglove) moments left out", said)
    size = sum(file.stat().st_size for file in folder.glob("*.mcap"))
    return {
        "cpu_s": round(after.children_user + after.children_system - before.children_user - before.children_system, 2),
        "hops": int(counts[1]),
        "late": int(counts[3]),
        "missed": int(counts[4]),
        "left_out": int(left_out[1]) if left_out else 0,
        "mb_per_minute": round(size / 1e6 / float(counts[2]) * 60, 2),
    }


def watch_all(port: int, stop: threading.Event) -> None:
    """Watch every channel, as Foxglove does with all panels open."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    connection = None
    while connection is None and not stop.is_set():
        try:
            connection = connect(f"ws://127.0.0.1:{port}", subprotocols=[Subprotocol("foxglove.sdk.v1")], max_size=None)
        except OSError:
            time.sleep(0.1)
    if connection is None:
        return
    with connection as socket:
        while not stop.is_set():
            try:
                said = socket.recv(0.5)
            except TimeoutError:
                continue
            except ConnectionClosed:  # the run has ended
                return
            if isinstance(said, str) and (channels := json.loads(said).get("channels")):
                wanted = [{"id": channel["id"], "channelId": channel["id"]} for channel in channels]
                socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))


def rows_per_second() -> int:
    """How many rows of six numbers a second of one core brings into a file."""
    import foxglove

    from taemi_edge.live.outputs.channels.picture_encoding import PictureSettings
    from taemi_edge.live.outputs.channels.run_channels import RunChannels
    from taemi_edge.media.hops import Hop, Values
    from taemi_edge.runtime.window import Source
    from tests.live.outputs.recordings import described, manifest_of, result_of
    from tests.live.specs import SERIES

    manifest, count = manifest_of(wrist=SERIES), 5000
    noise = np.random.default_rng(0).normal(size=(count, SERIES.channels)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        context = foxglove.Context()
        channels = RunChannels(described(manifest, Source("door")), PictureSettings(), context)
        with foxglove.open_mcap(Path(folder) / "rows.mcap", context=context):
            before_s = time.process_time()
            for index in range(20):
                times_s = index * 0.5 + np.arange(count) / (2 * count)
                channels.say_hop(0, result_of(manifest, Hop(index * 0.5 + 0.5, {"wrist": [Values(times_s, noise)]})))
            return round(20 * count / (time.process_time() - before_s))


def summed_up(found: list[dict[str, float]], plain: list[dict[str, float]]) -> dict[str, float]:
    """The median of some trials, and what they cost beyond those without a recording."""
    middle = {key: statistics.median(trial[key] for trial in found) for key in found[0]}
    beyond = [one["cpu_s"] - other["cpu_s"] for one, other in zip(found, plain, strict=True)]
    return {
        **middle,
        "cpu_share_beyond": round(statistics.median(beyond) / statistics.median(t["cpu_s"] for t in plain), 3),
    }


if __name__ == "__main__":
    main()
