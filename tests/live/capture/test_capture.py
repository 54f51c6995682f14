"""A capture over its whole life: files with faults, and many connections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.live.capture.settings import WatchSettings
from tests.live.captured import Captured, heard_s
from tests.live.servers import TcpBursts, transport_stream
from tests.media import tone, write_float_wav


def test_nan_in_the_sound_is_a_fault_and_no_sound(tmp_path):
    samples = tone(4)
    samples[16_000:32_000] = np.nan
    with Captured(str(write_float_wav(tmp_path / "nan.wav", samples))) as captured:
        captured.until(lambda c: c.capture.ended, 10)
        arrivals = captured.take_all(10.0)
    assert arrivals.fault == "NaN in the sound"
    assert heard_s(arrivals) == pytest.approx(3.0, abs=0.2)


@pytest.mark.once
def test_a_hundred_reconnects_leave_nothing_behind(real_clip):
    burst = b"".join(piece for _, piece in transport_stream(real_clip, 1.0))
    settings = WatchSettings(retry_first_s=0.02, retry_most_s=0.02)
    counts = []
    with TcpBursts(burst) as server, Captured(server.url, settings) as captured:
        for wanted in (10, 100):
            captured.until(lambda c: c.capture.connections >= wanted, 60)  # noqa: B023
            folder = Path("/proc/self")
            counts.append((len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))))
        assert captured.capture.reconnects >= 99
    assert counts[1][0] <= counts[0][0] + 3
    assert counts[1][1] <= counts[0][1] + 3
