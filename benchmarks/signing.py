"""Times the opening of a signed bundle with its signature checked, beside opening it unchecked, and writes JSON.

    python benchmarks/signing.py BUNDLE --output benchmarks/signing.json

The bundle is a copy of BUNDLE whose parts are filled with random bytes, so its content is synthetic: opening hashes a
part and does not read what is in it. Both kinds of opening take turns, first in one process, then in a new process
each time, where the check also imports `cryptography`.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import open_bundle, read_manifest, write_manifest
from taemi_edge.fleet.signing import make_key, sign_bundle

#: What a new process runs; it prints the seconds of opening alone.
_FRESH = (
    "import sys, time; from pathlib import Path; from taemi_edge.bundle.folder import open_bundle\n"
    "key = Path(sys.argv[2]) if len(sys.argv) > 2 else None\n"
    "start = time.perf_counter(); open_bundle(sys.argv[1], require_signature=key); print(time.perf_counter() - start)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=20)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, public = _signed_bundle(words.bundle, Path(place), words.megabytes)
        size = sum(file.stat().st_size for file in folder.iterdir())
        report = {
            "bundle": f"{size / 1e6:.0f} MB in {len(list(folder.iterdir()))} files, synthetic content",
            "one_process": _in_turn(
                words.rounds,
                lambda: _timed(lambda: open_bundle(folder)),
                lambda: _timed(lambda: open_bundle(folder, require_signature=public)),
            ),
            "new_process_each": _in_turn(words.processes, lambda: _fresh(folder), lambda: _fresh(folder, public)),
        }
    print(json.dumps(report, indent=1))
    write_report(words.output, report, "cryptography")


def _signed_bundle(bundle: Path, place: Path, megabytes: int) -> tuple[Path, Path]:
    """A signed bundle of that size, and the public key."""
    folder = place / "bundle"
    shutil.copytree(bundle, folder)
    manifest = read_manifest(folder)
    for part in manifest.parts.values():
        (folder / part.file).write_bytes(secrets.token_bytes(megabytes * 1_000_000 // len(manifest.parts)))
    write_manifest(folder, manifest)
    public, _ = make_key(place / "key")
    sign_bundle(folder, place / "key")
    return folder, public


def _in_turn(rounds: int, plain: Callable[[], float], checked: Callable[[], float]) -> dict[str, Any]:
    """Time both in turn, each first in every other round, after one of each that is not counted."""
    plain(), checked()
    seconds: dict[str, list[float]] = {"plain": [], "checked": []}
    for index in range(rounds):
        turns = [("plain", plain), ("checked", checked)]
        for name, call in turns if index % 2 else reversed(turns):
            seconds[name].append(call())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = [checked / plain for plain, checked in zip(seconds["plain"], seconds["checked"], strict=True)]
    return {
        "rounds": rounds,
        "plain_ms": round(medians["plain"] * 1e3, 2),
        "checked_ms": round(medians["checked"] * 1e3, 2),
        "ratio_of_medians": round(medians["checked"] / medians["plain"], 4),
        "median_ratio_of_a_round": round(statistics.median(pairs), 4),
        "ratio_of_the_fastest": round(min(seconds["checked"]) / min(seconds["plain"]), 4),
    }


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _fresh(folder: Path, key: Path | None = None) -> float:
    """Open the bundle in a new process; give the seconds of opening alone."""
    words = [sys.executable, "-c", _FRESH, str(folder), *([str(key)] if key else [])]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
