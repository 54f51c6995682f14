"""How long an update takes, and what it costs the predictions: python benchmarks/update.py BUNDLE --output F.json

A registry on this machine (Debian's docker-registry: tools/install_test_servers.sh) gives a device its first model. A
service runs it on a recorded clip that is played like a camera. Then another version of the model is pushed, and
`taemi-edge update` brings it. Both are signed, and the service asks for that. The other version has the same weights
and another manifest, unless --newer names a bundle; --cold empties the cache of engines first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import read_manifest
from tests.conftest import fetch_real_clip
from tests.fleet.updating import variant
from tests.live.running import LiveRun


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry on loopback; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    folder.mkdir()
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}}}}}\nhttp: {{addr: '{host}'}}\n"
    )
    program = shutil.which("docker-registry")
    if program is None:
        sys.exit("expected docker-registry: run tools/install_test_servers.sh")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        time.sleep(2.0)
        yield host
    finally:
        server.kill()
        server.wait()


def edge(*words: object) -> float:
    """Run a command of taemi-edge; how long it took, in seconds."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "taemi_edge", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return round(time.monotonic() - started, 2)


def measured(bundle: Path, newer: Path | None, cold: bool, folder: Path) -> dict[str, Any]:
    """Install a bundle, run it, update to the newer one, and look at the predictions."""
    key, root = folder / "key", folder / "root"
    edge("keygen", key)
    public = key.with_suffix(".pub")
    first = variant(bundle, folder / "first", "first")
    second = variant(newer or bundle, folder / "second", "second")
    common = ("--root", root, "--key", public, "--threads", 1)
    with registry(folder / "registry") as host:
        for place, tag in ((first, 1), (second, 2)):
            edge("sign", place, "--key", key)
            edge("push", place, f"oci://{host}/model:{tag}")
        install_s = edge("update", "--from", f"oci://{host}/model:1", *common)
        first_result = json.loads((root / "update.json").read_text())
        if cold:
            shutil.rmtree(root / "cache")
        words = (fetch_real_clip(), "--live", "--loop", "--require-signature", public)
        with LiveRun(folder, root / "current", *words) as run:
            run.wait_until(lambda: len(run.predictions) > 20, 60)
            started = time.monotonic()
            whole_s = edge("update", "--from", f"oci://{host}/model:2", *common)
            predictions, read_at = list(run.predictions), list(run.read_at)
        result = json.loads((root / "update.json").read_text())
    at = next(i for i, p in enumerate(predictions) if p["model_id"] != predictions[0]["model_id"])
    hop_s = read_manifest(bundle).window.hop_s
    began = next(i for i, when in enumerate(read_at) if when > started)
    steps_s = result["seconds"]
    switched = started + whole_s - steps_s["watch"]  # what starting and ending the command takes is left out
    missed = {"until the switch": 0, "from the switch to the first prediction": 0, "afterwards": 0}
    for i in range(began + 1, len(predictions)):
        phase = "afterwards" if i > at else "until the switch" if read_at[i] < switched else list(missed)[1]
        missed[phase] += round((predictions[i]["time_s"] - predictions[i - 1]["time_s"]) / hop_s) - 1
    return {
        "files_mb": round(sum(file.stat().st_size for file in bundle.iterdir()) / 1e6, 1),
        "hop_s": hop_s,
        "first install": {"seconds": install_s, "steps_s": first_result["seconds"]},
        "update": {
            "seconds": whole_s,
            "steps_s": steps_s,
            "reason": result["reason"],
            "until_first_prediction_of_the_new_model_s": round(read_at[at] - started, 2),
        },
        "gap": {
            "hops_missed_at_the_change": round((predictions[at]["time_s"] - predictions[at - 1]["time_s"]) / hop_s) - 1,
            "seconds_between_the_two_predictions": round(read_at[at] - read_at[at - 1], 3),
            "hops_missed": missed,
            "hops_made": len(predictions) - began,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--newer", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TAEMI_EDGE_STATE"] = str(Path(folder, "state"))
        figures = measured(given.bundle, given.newer, given.cold, Path(folder))
    report = {
        "bundle": read_manifest(given.bundle).name,
        **figures,
    }
    write_report(given.output, report, "oras", "cryptography")


if __name__ == "__main__":
    main()
