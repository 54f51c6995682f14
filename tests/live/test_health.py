"""The health of a run, as /healthz and the page show it."""

from __future__ import annotations

import threading

from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.opening import OPENERS
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.run import run_live


class HealthAtEachHop(BaseOutput):
    """Keeps what /healthz would answer at each hop."""

    def __init__(self, stop: threading.Event) -> None:
        self.state: LiveState | None = None
        self.answers: list[dict[str, object]] = []
        self._stop = stop

    def open(self, context: OutputContext) -> None:
        self.state = context.state
        context.add(self)

    def on_hop(self, result: HopResult) -> None:
        assert self.state is not None
        self.answers.append(self.state.health())
        if len(self.answers) == 3:
            self._stop.set()


def test_a_run_that_goes_well_says_so_and_shows_no_password(tiny, demo_video, monkeypatch):
    stop = threading.Event()
    health = HealthAtEachHop(stop)
    monkeypatch.setattr("taemi_edge.live.outputs.opening.OPENERS", (*OPENERS, health.open))
    source = SourceConfig(name="demo", video=str(demo_video), audio="rtsp://me:secret@127.0.0.1:1/x")
    run_live(tiny, LiveConfig(source=(source,), loop=True, threads=1), stop=stop)
    last = health.answers[-1]
    assert last["hops"] == 3
    assert last["status"] == "degraded"  # the microphone is not there
    assert health.state is not None
    assert [link["address"] for link in health.state.links("demo")] == [str(demo_video), "rtsp://127.0.0.1:1/..."]
    assert health.state.stream_states("demo")["audio"]["state"] == "missing"
