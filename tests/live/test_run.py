"""Whole live runs: from the command line, and from a program in a thread of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.cli.run_summaries import require_data
from taemi_edge.errors import CheckFailedError
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.loop import HopCounts
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.run import LiveSummary, run_live
from taemi_edge.runtime.prediction import Prediction
from tests.live.running import LiveRun
from tests.live.servers import HttpServer


@pytest.mark.once
def test_picture_and_sound_from_different_places(tiny_folder, stream, real_clip, tmp_path):
    with HttpServer({"/live.ts": stream}) as server:
        words = ("--video", f"{server.url}/live.ts", "--audio", f"file:{real_clip}", "--duration", "4")
        with LiveRun(tmp_path, tiny_folder, *words) as run:
            assert run.wait(30) == 0
        assert run.presence("vision") == "live"
        assert run.presence("audio") == "live"
        assert run.predictions[-1]["source"] == "live"
        assert server.served["/live.ts"] == 1


@pytest.mark.once
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed: tools/install_test_servers.sh")
def test_setting_the_machines_clock_moves_nothing(tiny_folder, real_clip, tmp_path):
    offset = tmp_path / "offset"
    offset.write_text("+0")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        # read again each second: at each call, the threads of a busy machine wait for the file more than they work
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with LiveRun(tmp_path, tiny_folder, real_clip, "--loop", "--live", env=environment) as run:
        run.wait_for("audio", "live")
        run.wait_for("vision", "live")
        for jump in ("+30d", "-400d"):
            made = len(run.predictions)
            offset.write_text(jump)
            run.wait_until(lambda: len(run.predictions) >= made + 4)  # noqa: B023
            assert all(p["presence"]["vision"] == "live" for p in run.predictions[made:])
        times_s = [p["time_s"] for p in run.predictions]
        # a busy machine leaves out a hop now and then
        assert set(np.round(np.diff(times_s) / 0.5, 6)) <= {1.0, 2.0, 3.0}
        assert len({line.split("-")[0] for line in run.log if line[:2] == "20"}) >= 1


class KeptResults(BaseOutput):
    """An output that keeps what it is given, and ends the run after some hops."""

    def __init__(self, stop: threading.Event, hops: int) -> None:
        self.predictions: list[Prediction] = []
        self.events: list[PresenceEvent] = []
        self.is_closed = False
        self._stop, self._hops = stop, hops

    def on_hop(self, result: HopResult) -> None:
        self.predictions.append(result.prediction)
        if len(self.predictions) >= self._hops:
            self._stop.set()

    def on_event(self, event: PresenceEvent) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.is_closed = True


def test_a_program_runs_it_in_a_thread_and_stops_it(tiny, demo_video, capfd):
    stop = threading.Event()
    kept = KeptResults(stop, hops=3)
    config = LiveConfig(source=(SourceConfig("demo", uri=str(demo_video)),), loop=True, threads=1)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with ThreadPoolExecutor(1) as pool:
        summary = pool.submit(run_live, tiny, config, stop=stop, outputs=[kept]).result(60)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert summary.counts.made == len(kept.predictions) == 3
    assert {prediction.source for prediction in kept.predictions} == {"demo"}
    assert kept.is_closed
    assert capfd.readouterr().out == ""


def test_with_a_stop_event_no_signal_handler_is_installed(tiny, demo_video):
    stop = threading.Event()
    seen: list[object] = []

    class Watch(BaseOutput):
        def on_hop(self, result: HopResult) -> None:
            seen.append(signal.getsignal(signal.SIGTERM))
            stop.set()

    before = signal.getsignal(signal.SIGTERM)
    config = LiveConfig(source=(SourceConfig("demo", uri=str(demo_video)),), loop=True, threads=1)
    run_live(tiny, config, stop=stop, outputs=[Watch()])
    assert seen == [before]


def test_an_exception_of_a_callers_output_ends_the_run_and_is_passed_on(tiny, demo_video):
    class Failing(BaseOutput):
        def on_hop(self, result: HopResult) -> None:
            raise RuntimeError("the caller's own mistake")

    config = LiveConfig(source=(SourceConfig("demo", uri=str(demo_video)),), loop=True, threads=1)
    with pytest.raises(RuntimeError, match="own mistake"):
        run_live(tiny, config, stop=threading.Event(), outputs=[Failing()])


def test_predictions_go_to_standard_output_where_the_configuration_says_so(tiny, demo_video, capsys):
    source = (SourceConfig("demo", uri=str(demo_video)),)
    run_live(tiny, LiveConfig(source=source, output="-", loop=True, threads=1, duration_s=1.0), stop=threading.Event())
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["demo"] * len(lines)
    assert lines


@pytest.mark.once
def test_a_run_whose_sources_never_gave_anything_says_so_and_exits_with_1(tiny_folder, tmp_path):
    places = [f"cam{number}=rtsp://127.0.0.1:1/{number}" for number in range(2)]
    with LiveRun(tmp_path, tiny_folder, *places, "--duration", "1") as run:
        assert run.wait(60) == 1
    last = run.log[-1]
    assert "all 2 sources never gave anything" in last
    assert "cam0 (connection refused" in last
    assert "cam1 (connection refused" in last
    assert "check that it is switched on" in last


def test_what_never_gave_anything_is_named_with_its_reason(capsys):
    summary = LiveSummary(HopCounts(), 2.0, 0, 1, silent={"door": "no route"}, sources=1)
    with pytest.raises(CheckFailedError, match=r"door \(no route\) never gave anything in 2.0 s"):
        require_data(summary)
    require_data(replace(summary, sources=2))
    assert "note: 1 of 2 sources never gave anything in 2.0 s: door (no route)" in capsys.readouterr().err
    require_data(replace(summary, silent={}))
    assert capsys.readouterr().err == ""
