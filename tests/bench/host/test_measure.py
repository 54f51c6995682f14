"""The host's time of a hop on the idle device: every part is found, on every kind of stream, and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count, pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bench.host import measure
from taemi_edge.bench.host.clip import read_clip
from taemi_edge.bench.host.measure import EXECUTE, PREDICTION, REPEATED, ROWS, host_timer, run_host_bench
from taemi_edge.bench.host.report import HostOptions
from taemi_edge.bench.host.split import OTHER, PARTS
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import UsageError
from taemi_edge.media.faces import FaceDetector
from taemi_edge.runtime.tensorrt.executor import TrtExecutor

ROOT = Path(__file__).parents[3]


def test_every_part_is_found_and_more_sources_take_longer(tiny_folder: Path):
    before = {name: sys.modules.get(name) for name in ("pycuda", "pycuda.driver", "tensorrt", "cuda.bindings.driver")}
    execute, detect = TrtExecutor.execute, FaceDetector.detect
    report = run_host_bench(tiny_folder, HostOptions(sources=(1, 3), hops=16))
    assert [row.sources for row in report.sources] == [1, 3]
    for row in report.sources:
        assert set(row.parts_us) == {*PARTS, OTHER}
        assert all(times.median > 0 for times in row.parts_us.values())
        assert row.execute_us.hops >= 16
        assert row.repeated_us.least <= row.execute_us.median
        assert row.parts_us[OTHER].median < 0.5 * sum(times.median for times in row.parts_us.values())
    assert all(one.execute_us.least < more.execute_us.least for one, more in pairwise(report.sources))
    assert {name: sys.modules.get(name) for name in before} == before
    assert (TrtExecutor.execute, FaceDetector.detect) == (execute, detect)


def test_hops_are_real_and_replayed_and_a_split_is_no_part_of_the_total(tiny: Bundle):
    """Windows fill, faces are found, words are said; and the idle executor replays what a GPU would."""
    predictions = []
    with host_timer(tiny) as timer:
        assert set(timer.one_pass(1, splitting=True)) == {*PARTS, OTHER}
        fleet = timer._fleets[1]._fleet
        predict = fleet.predict
        fleet.predict = lambda prepared: predictions.extend(found := predict(prepared)) or found
        assert set(timer.one_pass(1)) == {EXECUTE, ROWS, PREDICTION, REPEATED}
    assert {state for p in predictions[8:] for state in p.presence.values()} == {"live"}
    replayed = [p.backend == "tensorrt+graph" for p in predictions]
    assert sum(replayed) > 0.8 * len(replayed)  # a case whose parts are timed comes up seldom
    assert all(np.isfinite(list(p.intensities.values())).all() for p in predictions)


def test_a_time_in_which_the_processor_was_taken_away_is_left_out(tiny: Bundle, monkeypatch):
    """First in every second call of the executor, then in every call: then the benchmark says so."""
    calls = count()
    with host_timer(tiny) as timer:
        timer.one_pass(1)
        monkeypatch.setattr(measure, "_interruptions", lambda: (next(calls) + 2) // 8)  # asked four times a hop
        found = timer.one_pass(1)
        hops = timer.clip.length - timer.clip.first_timed
        assert len(found[EXECUTE]) in (hops // 2, hops // 2 + 1)
        assert len(found[ROWS]) == len(found[PREDICTION]) == hops
        monkeypatch.setattr(measure, "_interruptions", lambda: next(calls))
        monkeypatch.setattr(measure, "_MOST_PASSES", 1)
        with pytest.raises(UsageError, match="expected a hop of 1 sources that nothing interrupts, found none"):
            timer.measure(1, 16)


@pytest.mark.once
def test_streams_of_every_kind_are_timed(tmp_path: Path):
    pytest.importorskip("torch", reason="the model of this test is exported with torch")
    pytest.importorskip("onnx", reason="torch exports through onnx")
    from tests.runtime.tensorrt.mixed import HEADS, write_mixed_bundle

    bundle = write_mixed_bundle(tmp_path / "mixed", HEADS["in order"], ("front", "gait", "mic", "imu", "heart"))
    with host_timer(bundle) as timer:
        assert timer.clip.synthetic == ("imu", "heart")
        assert set(timer.one_pass(2, splitting=True)) == {*PARTS, OTHER}


@pytest.mark.parametrize(
    ("length_s", "hop_s"), [(4.0, 0.5), (60.0, 0.5), (8.0, 5.0), (90.0, 30.0)], ids=["usual", "long", "rare", "rarer"]
)
def test_a_clip_has_hops_enough_whatever_the_window(tiny: Bundle, length_s: float, hop_s: float):
    """It begins again where it is too short: times ascend, and words go on."""
    window = msgspec.structs.replace(tiny.manifest.window, length_s=length_s, hop_s=hop_s)
    clip = read_clip(msgspec.structs.replace(tiny.manifest, window=window))
    assert clip.length - clip.first_timed >= 16
    assert clip.first_timed * hop_s >= min(length_s, 50.0)
    ends_s = [hop.end_s for hop in clip.hops]
    assert np.allclose(np.diff(ends_s), hop_s)
    for hop in clip.hops:
        for pieces in hop.pieces.values():
            assert all(hop.end_s - hop_s - 0.1 < piece.time_s <= hop.end_s + 1e-6 for piece in pieces)
    assert clip.words[-1].end_s > ends_s[-1] - 5 * hop_s - 5


@pytest.mark.parametrize("options", [{"sources": (0,)}, {"sources": (1, 10**20)}, {"hops": 3}])
def test_numbers_that_cannot_be_timed_are_refused(options):
    with pytest.raises(UsageError, match="expected"):
        HostOptions(**options)


@pytest.mark.nightly
def test_two_checkouts_take_turns(tiny_folder: Path, tmp_path: Path):
    """The checkout of this test against itself."""
    command = [sys.executable, str(ROOT / "benchmarks" / "host.py"), str(tiny_folder), "--against", str(ROOT)]
    words = ["--turns", "2", "--sources", "1,2", "--output", "h.json", "--plot", "h.png"]
    subprocess.run([*command, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    report = json.loads((tmp_path / "h.json").read_text(encoding="utf-8"))
    assert set(report["ratios"]) == {"1", "2"}
    assert len(report["before"]["commit"].rstrip("+")) == 12
    assert all(0.2 < ratio["execute"] < 5 for ratio in report["ratios"].values())
    assert (tmp_path / "h.png").stat().st_size > 10_000
