"""An hour of a drive takes no more memory than a minute of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, messages, repeated

pytestmark = [pytest.mark.nightly, pytest.mark.once]

_READ = """
import resource, sys
from pathlib import Path
from tests.fuzz.parsers.recordings import STREAMS
from taemi_edge.media.recordings.recorded_streams import RecordingSource

topics = {"eye": "/camera/image_raw/compressed", "wrist": "/imu/data", "talk": "/transcript"}
with RecordingSource(Path(sys.argv[1]), STREAMS, topics) as source:
    for hop in source.hops(0.5):
        if hop.end_s in (60.0, 3600.0):
            print(hop.end_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("kind", ["mcap", "no index", "sqlite3"])
def test_memory_is_flat_over_an_hour(drive: Any, tmp_path: Path, kind: str) -> None:
    sent = repeated(list(messages(drive, Form("jpeg"))), 600, 6.0)
    if kind == "sqlite3":
        place = write_bag(tmp_path / "bag", sent, storage="sqlite3")
    else:
        place = write_mcap(tmp_path / "hour.mcap", sent, index=kind == "mcap")
    done = subprocess.run([sys.executable, "-c", _READ, str(place)], capture_output=True, text=True, check=True)
    (first_s, first_mb), (last_s, last_mb) = (line.split() for line in done.stdout.splitlines())
    assert (first_s, last_s) == ("60.0", "3600.0")
    assert int(last_mb) - int(first_mb) < 16
