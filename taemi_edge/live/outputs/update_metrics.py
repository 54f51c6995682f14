"""Metrics of the model that a live run runs, and of the last update of the device."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from taemi_edge.live.health import LiveState
from taemi_edge.live.update_root import is_update_root, read_result

_MOST_REASON = 200


def model_metrics(state: LiveState) -> Iterable[Metric]:
    """Which model runs, and how often another one was taken up or refused."""
    model = GaugeMetricFamily("taemi_edge_model_info", "The model that makes the predictions.", labels=["name", "id"])
    model.add_metric([state.manifest.name, state.model["id"]], 1)
    yield model
    if state.trained_on_synthetic:
        mark = GaugeMetricFamily("taemi_edge_model_synthetic", "1 where the model was trained on synthetic data.")
        mark.add_metric([], 1)
        yield mark
    if (follower := state.follower) is None:
        return
    changes = CounterMetricFamily("taemi_edge_model_changes", "Other models, by how they went.", labels=["outcome"])
    changes.add_metric(["taken up"], follower.taken_up)
    changes.add_metric(["refused"], follower.refusals)
    yield changes
    if is_update_root(follower.link.parent) and (result := read_result(follower.link.parent)) is not None:
        ok = GaugeMetricFamily("taemi_edge_update_ok", "1 where the last update holds, 0 where the old model goes on.")
        if result.ok is not None:
            ok.add_metric([], float(result.ok))
        yield ok
        at = GaugeMetricFamily("taemi_edge_update_time_seconds", "When the last update ended, since 1970.")
        at.add_metric([], result.ended_at)
        yield at
        info = GaugeMetricFamily(
            "taemi_edge_update_info", "The last step of the last update.", labels=["step", "version", "reason"]
        )
        info.add_metric([result.step, result.after, "" if result.ok else result.reason[:_MOST_REASON]], 1)
        yield info
