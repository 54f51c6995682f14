"""A page that is fed with predictions made of numbers, for models that nobody must export."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.bundle.streams import StreamSpec, TextSpec
from taemi_edge.bundle.training_data import is_synthetic
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.config import ServeConfig
from taemi_edge.live.events import PresenceEvent
from taemi_edge.live.health import LiveState
from taemi_edge.live.loop import LiveLoop
from taemi_edge.live.outputs.output import HopResult
from taemi_edge.live.outputs.prometheus import Metrics
from taemi_edge.live.page.server import PageServer
from taemi_edge.live.source import LiveSource
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.prediction import Prediction

HOP_S = 0.5


class FedPage:
    """A served page; `feed` gives it hops."""

    def __init__(
        self,
        streams: dict[str, StreamSpec],
        outputs: dict[str, OutputSpec],
        source: LiveSource,
        config: ServeConfig | None = None,
        token: str | None = None,
        trained_on: str = "",
    ) -> None:
        marks = {"trained_on": trained_on, "synthetic": is_synthetic(trained_on)}
        manifest: Any = SimpleNamespace(name="fed", streams=streams, outputs=outputs, **marks)
        fleet: Any = SimpleNamespace(
            manifest=manifest, executor=SimpleNamespace(device_memory=lambda: None), windows=(), model_id=""
        )
        loop = LiveLoop(fleet, [source], SessionClock(), HOP_S, 0.1)
        self.state = LiveState(loop, manifest)
        self.metrics = Metrics(self.state)
        self.server = PageServer(config or ServeConfig("127.0.0.1:0"), token, self.state, self.metrics)
        self.streams, self.outputs, self.source = streams, outputs, source
        self.made = 0

    def feed(self, hops: int, missing: tuple[str, ...] = (), no_prediction: bool = False) -> None:
        """Give it more hops; the numbers swing, each in its own way."""
        for _ in range(hops):
            self.made += 1
            prediction = self._prediction(missing, no_prediction)
            for event in self.state.loop.states.after_hop(prediction, {}):
                self.server.on_event(event)
            words = {s: ("so", "it", "is") for s, spec in self.streams.items() if isinstance(spec, TextSpec)}
            result = HopResult(Hop(prediction.time_s), prediction, {}, words)
            self.metrics.on_hop(result)
            self.server.on_hop(result)

    def lose(self, stream: str) -> None:
        """A loss that the watch notices between hops."""
        event = PresenceEvent(
            source="rig", time_s=self.made * HOP_S, stream=stream, before="live", after="missing", reason="unplugged"
        )
        self.server.on_event(event)

    def _prediction(self, missing: tuple[str, ...], no_prediction: bool) -> Prediction:
        time_s = self.made * HOP_S
        described = {
            g: None if no_prediction else spec.described(swinging(spec, time_s)) for g, spec in self.outputs.items()
        }
        return Prediction(
            source="rig",
            time_s=time_s,
            window_s=(max(0.0, time_s - 4), time_s),
            outputs=cast("dict[str, Any]", described),
            presence={s: "missing" if s in missing else "live" for s in self.streams},
            age_ms={s: None if s in missing else 40.0 for s in self.streams},
            latency_ms=dict.fromkeys((*self.streams, "fusion", "total"), 1.5),
            reason=dict.fromkeys(missing, "its sender hung up"),
            status="no prediction" if no_prediction else "ok",
        )


def swinging(spec: OutputSpec, time_s: float) -> np.ndarray:
    """A row of an output group that changes with time, inside its range."""
    phases = np.array([0.5 + 0.5 * math.sin(time_s / (4 + index % 9) + index) for index in range(spec.size)])
    if isinstance(spec, ClassesSpec):
        return phases * 4
    low, high = spec.range or (-3.0, 40.0)
    return low + phases * (high - low)


@contextmanager
def fed_page(
    streams: dict[str, StreamSpec],
    outputs: dict[str, OutputSpec],
    source: LiveSource | None = None,
    config: ServeConfig | None = None,
    token: str | None = None,
    trained_on: str = "",
) -> Iterator[FedPage]:
    from taemi_edge.live.capture.settings import WatchSettings

    page = FedPage(streams, outputs, source or LiveSource("rig", [], {}, WatchSettings()), config, token, trained_on)
    try:
        yield page
    finally:
        page.server.close()


def numbers(count: int, span: tuple[float, float] | None = (0.0, 1.0)) -> RegressionSpec:
    return RegressionSpec(names=tuple(f"number_{index}" for index in range(count)), range=span)


def classes(count: int, exclusive: bool = True) -> ClassesSpec:
    return ClassesSpec(names=tuple(f"class {index}" for index in range(count)), exclusive=exclusive)
