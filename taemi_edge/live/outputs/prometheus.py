"""Metrics of a live run for Prometheus (extra `serve`).

Latencies are recorded with each hop. Counts that are kept elsewhere are read when /metrics is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from taemi_edge import __version__
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.numbers import numbers_of
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.outputs.update_metrics import model_metrics
from taemi_edge.live.words import TranscriptLines, WordInbox

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOXES = {"frames": FrameBox, "sounds": SoundBox, "rows": RowBox, "words": WordInbox}
_STATES = ("live", "stale", "missing", "recovering")
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics(BaseOutput):
    """An output that records latencies, ages and outputs, and gives all metrics as text.

    Args:
        state: the running loop and the counters of its outputs.
    """

    def __init__(self, state: LiveState) -> None:
        self._registry = CollectorRegistry()
        self._parts = Histogram(
            "taemi_edge_part_latency_seconds",
            "Time of a part in a hop in which it ran; face is detection and crop, total the whole hop.",
            ["source", "part"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._delay = Histogram(
            "taemi_edge_hop_delay_seconds",
            "How long after it was due a hop's predictions were ready.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._age = Gauge(
            "taemi_edge_feature_age_seconds",
            "Age of the newest data that the last prediction rests on; NaN where the stream is missing.",
            ["source", "modality"],
            registry=self._registry,
        )
        self._value = Gauge(
            "taemi_edge_output_value",
            "The last prediction: numbers, and the probabilities of classes; NaN where there is no prediction.",
            ["source", "output", "name"],
            registry=self._registry,
        )
        self._memory = Gauge(
            "taemi_edge_gpu_memory_bytes", "Memory of the GPU, where one is used.", ["kind"], registry=self._registry
        )
        self._state = state
        self._registry.register(_OnRequest(state))

    def add_gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each request.

        Args:
            name: the name of the metric.
            what: its help text.
            value: returns its value; called from the thread that serves /metrics.
        """
        Gauge(name, what, registry=self._registry).set_function(value)

    def on_hop(self, result: HopResult) -> None:
        prediction = result.prediction
        for part, latency_ms in prediction.latency_ms.items():
            if latency_ms:  # neither at rest nor untimed
                self._parts.labels(prediction.source, part).observe(latency_ms / 1e3)
        for stream, age_ms in prediction.age_ms.items():
            self._age.labels(prediction.source, stream).set(float("nan") if age_ms is None else age_ms / 1e3)
        for group, spec in self._state.manifest.outputs.items():
            for name, value in zip(spec.names, numbers_of(spec, prediction.outputs.get(group)), strict=True):
                self._value.labels(prediction.source, group, name).set(float("nan") if value is None else value)
        if memory := self._state.loop.fleet.executor.device_memory():  # CUDA calls belong in this thread
            self._memory.labels("free").set(memory[0])
            self._memory.labels("total").set(memory[1])
        self._delay.observe(max(0.0, self._state.loop.counts.last_delay_s))

    def text(self) -> bytes:
        """The body of /metrics, in the text format 0.0.4 of Prometheus."""
        return generate_latest(self._registry)


class _OnRequest(Collector):
    """Reads counts that are kept elsewhere at each request."""

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        yield from self._hops()
        yield from self._streams()
        yield from self._connections()
        yield from self._lines()
        yield from model_metrics(self._state)
        outputs = CounterMetricFamily(
            "taemi_edge_output", "What outputs lost, left out, wrote or connected.", labels=["what"]
        )
        for name, count in self._state.counters.items():
            outputs.add_metric([name], count())
        yield outputs
        build = GaugeMetricFamily("taemi_edge_build_info", "The version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def _hops(self) -> Iterable[Metric]:
        counts = self._state.loop.counts
        hops = CounterMetricFamily("taemi_edge_hops", "Hops by how they went.", labels=["outcome"])
        for outcome, value in (("made", counts.made), ("late", counts.late), ("missed", counts.missed)):
            hops.add_metric([outcome], value)
        yield hops
        load, reasons = self._state.loop.load, self._state.reasons()
        degraded = GaugeMetricFamily("taemi_edge_degraded", "1 where the run is degraded, by why.", labels=["why"])
        degraded.add_metric(["load"], float(load.reason is not None))
        degraded.add_metric(["stream"], float(len(reasons) > (load.reason is not None)))
        yield degraded
        share = GaugeMetricFamily("taemi_edge_frames_share", "The share of the frames that encoders run on.")
        share.add_metric([], load.level.frames_share)
        yield share
        hop = GaugeMetricFamily("taemi_edge_hop_seconds", "The time between two predictions.")
        hop.add_metric([], load.hop_s)
        yield hop

    def _lines(self) -> Iterable[Metric]:
        said = CounterMetricFamily("taemi_edge_transcript_lines", "Lines of live transcripts.", labels=["kind"])
        transcripts = [of for of in self._state.listeners if isinstance(of.parser, TranscriptLines)]
        said.add_metric(["good"], sum(listener.good_lines for listener in transcripts))
        said.add_metric(["bad"], sum(listener.bad_lines for listener in transcripts))
        yield said
        rows = CounterMetricFamily("taemi_edge_series_lines", "Lines of live series.", labels=["streams", "kind"])
        for listener in (listener for listener in self._state.listeners if listener not in transcripts):
            rows.add_metric([listener.parser.name, "good"], listener.good_lines)
            rows.add_metric([listener.parser.name, "bad"], listener.bad_lines)
        yield rows

    def _streams(self) -> Iterable[Metric]:
        states = GaugeMetricFamily(
            "taemi_edge_stream_state", "1 for the state that a stream is in.", labels=["source", "modality", "state"]
        )
        drops = CounterMetricFamily("taemi_edge_dropped", "What nobody fetched in time.", labels=["source", "kind"])
        for source in self._state.loop.sources:
            for stream, (state, _) in self._state.loop.states.of(source.name).items():
                for name in _STATES:
                    states.add_metric([source.name, stream, name], float(name == state))
            for kind, of in _BOXES.items():
                boxes = [box for box in source.boxes.values() if isinstance(box, of)]
                if boxes:
                    drops.add_metric([source.name, kind], sum(box.dropped for box in boxes))
        yield states
        yield drops

    def _connections(self) -> Iterable[Metric]:
        labels = ["source", "streams"]  # an address has no place in a metric
        up = GaugeMetricFamily("taemi_edge_connected", "1 where a source's connection stands.", labels=labels)
        again = CounterMetricFamily("taemi_edge_reconnects", "Connections after the first one.", labels=labels)
        failures = CounterMetricFamily("taemi_edge_connection_failures", "Connections lost or refused.", labels=labels)
        damaged = CounterMetricFamily("taemi_edge_damaged_packets", "Packets left out.", labels=labels)
        for source in self._state.loop.sources:
            for capture in source.captures:
                values = [source.name, "+".join(capture.streams)]
                up.add_metric(values, float(capture.link.state == "connected"))
                again.add_metric(values, capture.reconnects)
                failures.add_metric(values, capture.failures)
                damaged.add_metric(values, capture.damaged_packets)
        yield from (up, again, failures, damaged)
