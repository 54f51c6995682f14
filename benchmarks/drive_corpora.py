"""What clips of a long recording cost: whether each reads its own seconds alone, and whether memory stays flat.

    python benchmarks/drive_corpora.py --output benchmarks/drive_corpora.json [--minutes 60] [--clips 40]

A drive of one minute (camera 320 x 240 at 15 Hz as JPEG, IMU at 200 Hz, words; `tests/robots/material.py` says where
they are from) is recorded again and again with rising stamps, once for one minute and once for `--minutes`. Clips of
two seconds are drawn from both and read as a worker reads them.

- `cut_s`: how long it takes to look at the recording and to cut it into clips.
- `clip_ms`: the CPU time of a clip, the median; of the first and of the last quarter of the recording too.
- `rate`: seconds of recording that one core reads in a second.
- `peak_mib`: the largest resident memory of a process that cuts the recording and reads the clips.
- `goals`: a clip of the long recording costs at most twice that of the short one; memory differs by at most 40 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, StreamSpec, VideoSpec
from taemi_edge.corpora.drives import for_model
from taemi_edge.corpora.opening import find_corpus
from taemi_edge.corpora.sample_corpus import SampleCorpus
from taemi_edge.corpora.stream_files import sample_rows

CLIP_S, GOAL_RATIO, GOAL_MIB = 2.0, 2.0, 40.0


def streams() -> dict[str, StreamSpec]:
    """A camera of five pictures a second, and an IMU in chunks of half a second."""
    times = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
    eye = VideoSpec(feature_dim=4, presence=times, frames_per_second=5.0, size_hw=(224, 224), crop="whole")
    wrist = SeriesSpec(feature_dim=4, presence=times, channels=6, rate_hz=200.0, chunk_s=0.5, context_s=0.0)
    return {"eye": eye, "wrist": wrist}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--output", type=Path)
    words.add_argument("--minutes", type=int, default=60)
    words.add_argument("--clips", type=int, default=40)
    words.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.read is not None:
        print(json.dumps(read(given.read, given.clips)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        files = {minutes: write(Path(scratch), minutes) for minutes in (1, given.minutes)}
        found = {minutes: in_a_process(file, given.clips) for minutes, file in files.items()}
    short, long = found[1], found[given.minutes]
    result = {
        "1 minute": short,
        f"{given.minutes} minutes": long,
        "goals": {
            "clip_ratio": [long["clip_ms"] / short["clip_ms"], GOAL_RATIO],
            "memory_mib": [long["peak_mib"] - short["peak_mib"], GOAL_MIB],
        },
    }
    print(json.dumps(result, indent=1))
    if given.output is not None:
        write_report(given.output, result, "mcap", "rosbags", "av")


def write(folder: Path, minutes: int) -> Path:
    """The drive for so long, in chunks of zstd as recorders write them."""
    from tests.robots.drives import write_mcap
    from tests.robots.material import make_material
    from tests.robots.messages import Form, messages, repeated

    material = make_material(folder / f"files-{minutes}", 60.0, (320, 240))
    sent = list(messages(material, Form(pictures="jpeg", others=False)))
    return write_mcap(folder / f"{minutes}.mcap", repeated(sent, minutes, 60.0))


def in_a_process(file: Path, clips: int) -> dict[str, Any]:
    """Read clips in a process of their own, whose memory counts."""
    command = [sys.executable, __file__, "--read", str(file), "--clips", str(clips)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def read(file: Path, count: int) -> dict[str, Any]:
    """Cut a recording, and read some of its clips."""
    began_s = time.process_time()
    corpus = find_corpus(file)
    cut = for_model(corpus, streams(), CLIP_S) if corpus is not None else None
    if not isinstance(cut, SampleCorpus):
        raise AssertionError(f"{file}: expected a recording")
    cut_s = time.process_time() - began_s
    clips = list(cut.clips)
    chosen = sorted(random.Random(0).sample(range(len(clips)), min(count, len(clips))))  # noqa: S311  (a draw)
    spent_ms = {}
    for at in chosen:
        began_s = time.process_time()
        rows = sample_rows(clips[at], streams(), {})
        spent_ms[at] = (time.process_time() - began_s) * 1e3
        if not rows["wrist"]:
            raise AssertionError(f"{clips[at].id}: expected rows of the IMU")
    quarter = len(clips) // 4
    return {
        "size_mb": file.stat().st_size / 1e6,
        "clips": len(clips),
        "cut_s": cut_s,
        "clip_ms": statistics.median(spent_ms.values()),
        "clip_ms_first_quarter": statistics.median([ms for at, ms in spent_ms.items() if at < quarter] or [0.0]),
        "clip_ms_last_quarter": statistics.median([ms for at, ms in spent_ms.items() if at >= 3 * quarter] or [0.0]),
        "rate": CLIP_S * 1e3 / statistics.median(spent_ms.values()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
