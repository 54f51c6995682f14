"""Makes a layout for Foxglove that suits a model: pictures with boxes, curves over bands of presence, lamps, a log.

The file has the shape that Foxglove's own "Export layout to file" writes and "Import from file" reads: the settings of
each panel under its id, and a tree of splits that holds the ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.outputs import OutputSpec, RegressionSpec
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, SeriesSpec, StreamSpec, VideoSpec
from taemi_edge.live.outputs.channels.described_run import EVENTS, topic_levels

#: A panel with more curves says nothing: those of the first names are shown.
_MOST_CURVES = 32
_COLOURS = {"live": "#3fb950", "recovering": "#58a6ff", "stale": "#d29922", "missing": "#f85149"}
_UNKNOWN = "#6e7681"

Tree = str | dict[str, Any]


def write_layout(file: Path, manifest: Manifest, sources: Sequence[str]) -> None:
    """Write the layout of a model as a file that Foxglove imports.

    Args:
        file: where; an older file is replaced.
        manifest: of the model.
        sources: the names of the sources of a run.

    Raises:
        OutputError: it cannot be written.
    """
    with new_file(file) as draft:
        draft.write_text(json.dumps(layout(manifest, sources), indent=1) + "\n", encoding="utf-8")


def layout(manifest: Manifest, sources: Sequence[str]) -> dict[str, Any]:
    """The layout of a model: a tab for each source where there are several."""
    panels: dict[str, dict[str, Any]] = {}
    levels = topic_levels(list(sources))
    trees = [_source_tree(panels, manifest, level) for level in levels]
    if len(trees) == 1:
        whole = trees[0]
    else:
        tabs = [{"title": name, "layout": tree} for name, tree in zip(sources, trees, strict=True)]
        panels["Tab!sources"] = {"activeTabIdx": 0, "tabs": tabs}
        whole = "Tab!sources"
    return {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": whole,
    }


def _source_tree(panels: dict[str, dict[str, Any]], manifest: Manifest, level: str) -> Tree:
    """Add the panels of a source; returns how they lie: what comes in on the left, what is made of it on the right."""
    streams = manifest.streams
    left: list[Tree] = []
    for name, spec in streams.items():
        kind, settings = _input_panel(level, name, spec)
        left.append(_add(panels, f"{kind}!{level}_{name}", name, settings))
    lamps = [_add(panels, f"Indicator!{level}_{name}", name, _lamp(level, name)) for name in streams]
    left.append(_split("row", lamps))
    right: list[Tree] = [
        _add(panels, f"Plot!{level}_{group}", group, _curves(level, group, spec))
        for group, spec in manifest.outputs.items()
    ]
    right.append(_add(panels, f"StateTransitions!{level}", "presence", _bands(level, streams)))
    right.append(_add(panels, f"Plot!{level}_latency", "latency, ms", _latency(level, manifest)))
    right.append(_add(panels, f"RosOut!{level}", "events", {"topicToRender": EVENTS, "minLogLevel": 1}))
    return {
        "direction": "row",
        "first": _split("column", left),
        "second": _split("column", right),
        "splitPercentage": 40,
    }


def _add(panels: dict[str, dict[str, Any]], panel: str, title: str, settings: dict[str, Any]) -> str:
    panels[panel] = {**settings, "foxglovePanelTitle": title}
    return panel


def _split(direction: str, trees: Sequence[Tree]) -> Tree:
    """Panels of one size beside each other (row) or above each other (column)."""
    if len(trees) == 1:
        return trees[0]
    rest = _split(direction, trees[1:])
    return {"direction": direction, "first": trees[0], "second": rest, "splitPercentage": round(100 / len(trees), 2)}


def _input_panel(level: str, stream: str, spec: StreamSpec) -> tuple[str, dict[str, Any]]:
    """The type and the settings of the panel of a stream."""
    topic = f"/{level}/inputs/{stream}"
    if isinstance(spec, VideoSpec):
        boxes = {} if spec.crop == "whole" else {f"/{level}/boxes/{stream}": {"visible": True}}
        return "Image", {"imageMode": {"imageTopic": topic, "annotations": boxes}}
    if isinstance(spec, AudioSpec):
        return "Audio", {"topic": topic, "muted": True}
    if isinstance(spec, SeriesSpec):
        shown = range(min(spec.channels, _MOST_CURVES))
        return "Plot", _plot([_curve(f"{topic}.values[{index}]", f"c{index}") for index in shown])
    return "RawMessages", {"topicPath": topic, "diffEnabled": False}


def _lamp(level: str, stream: str) -> dict[str, Any]:
    rules = [
        {"operator": "=", "rawValue": state, "color": colour, "label": f"{stream} {state}"}
        for state, colour in _COLOURS.items()
    ]
    return {
        "path": f"/{level}/presence.state.{stream}",
        "style": "bulb",
        "fontSize": 14,
        "rules": rules,
        "fallbackColor": _UNKNOWN,
        "fallbackLabel": f"{stream} ?",
    }


def _curves(level: str, group: str, spec: OutputSpec) -> dict[str, Any]:
    names = spec.names[:_MOST_CURVES]
    settings = _plot([_curve(f"/{level}/outputs/{group}.values[{i}]", name) for i, name in enumerate(names)])
    bounds = (spec.range or (None, None)) if isinstance(spec, RegressionSpec) else (0.0, 1.0)
    return {**settings, **{k: v for k, v in zip(("minYValue", "maxYValue"), bounds, strict=True) if v is not None}}


def _latency(level: str, manifest: Manifest) -> dict[str, Any]:
    parts = (*manifest.part_names[:_MOST_CURVES], "total")
    return _plot([_curve(f"/{level}/latency.ms.{part}", part) for part in parts])


def _bands(level: str, streams: Mapping[str, StreamSpec]) -> dict[str, Any]:
    states = [{"value": state, "label": state, "color": colour} for state, colour in _COLOURS.items()]
    paths = [
        {
            **_curve(f"/{level}/presence.state.{stream}", stream),
            "customStates": {"type": "discrete", "states": states},
        }
        for stream in streams
    ]
    return {"paths": paths, "isSynced": True, "showPoints": False}


def _curve(value: str, label: str) -> dict[str, Any]:
    return {"value": value, "label": label, "enabled": True, "timestampMethod": "receiveTime"}


def _plot(paths: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "paths": list(paths),
        "showXAxisLabels": True,
        "showYAxisLabels": True,
        "showLegend": True,
        "legendDisplay": "left",
        "showPlotValuesInLegend": True,
        "isSynced": True,
        "xAxisVal": "timestamp",
        "sidebarDimension": 140,
    }
