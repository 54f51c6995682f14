"""Layouts for Foxglove, held against the panels that foxglove-sdk knows."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from taemi_edge.live.outputs.channels.foxglove_layout import layout, write_layout
from tests.live.outputs.recordings import manifest_of
from tests.live.specs import CAMERA, MICROPHONE, SERIES, WORDS

FACES = msgspec.structs.replace(CAMERA, crop="face")
ALL = {"eye": FACES, "side": CAMERA, "ear": MICROPHONE, "wrist": SERIES, "talk": WORDS}
#: What Foxglove's own files call panels that foxglove-sdk calls otherwise.
FILE_NAMES = {"RosOut": "Log"}


def leaves(tree: Any, panels: dict[str, Any]) -> list[str]:
    """The panels that a tree holds, in tabs too."""
    if isinstance(tree, dict):
        assert set(tree) == {"direction", "first", "second", "splitPercentage"}
        assert tree["direction"] in ("row", "column")
        assert 0 < tree["splitPercentage"] < 100
        return leaves(tree["first"], panels) + leaves(tree["second"], panels)
    if tree.startswith("Tab!"):
        return [leaf for tab in panels[tree]["tabs"] for leaf in leaves(tab["layout"], panels)]
    return [tree]


def known_settings(kind: str) -> dict[str, Any]:
    """The settings of a panel that foxglove-sdk knows, as its file has them."""
    sdk = pytest.importorskip("foxglove.layouts", reason="foxglove-sdk knows the panels")
    panel = getattr(sdk, f"{kind}Panel")()
    assert panel._to_dict()["panelType"] == kind
    return panel.config._to_dict()


@pytest.mark.parametrize("streams", [ALL, {"wrist": SERIES}, {"talk": WORDS}, {"ear": MICROPHONE, "eye": CAMERA}])
@pytest.mark.parametrize("sources", [["door"], ["door cam", "door-cam", "x"]])
def test_every_panel_is_shown_and_every_setting_is_known(streams, sources):
    made = layout(manifest_of(**streams), sources)
    panels = made["configById"]
    shown = leaves(made["layout"], panels)
    assert sorted(shown) == sorted(name for name in panels if not name.startswith("Tab!"))
    for name in shown:
        kind = name.partition("!")[0]
        settings = dict(panels[name])
        assert settings.pop("foxglovePanelTitle")
        assert set(settings) <= set(known_settings(FILE_NAMES.get(kind, kind))), name
    kinds = {name.partition("!")[0] for name in shown}
    assert {"Indicator", "Plot", "StateTransitions", "RosOut"} <= kinds
    assert ("Image" in kinds, "Audio" in kinds) == ("eye" in streams, "ear" in streams)


def test_series_rules_and_states_are_known_too():
    sdk = pytest.importorskip("foxglove.layouts", reason="foxglove-sdk knows the panels")
    panels = layout(manifest_of(**ALL), ["door"])["configById"]
    curve = panels["Plot!door_mood"]["paths"][1]
    assert set(curve) <= set(sdk.PlotSeries()._to_dict())
    assert (curve["value"], curve["label"]) == ("/door/outputs/mood.values[1]", "most of all")
    band = panels["StateTransitions!door"]["paths"][0]
    assert set(band) <= set(sdk.StateTransitionsSeries()._to_dict())
    assert set(band["customStates"]) == set(sdk.StateTransitionsDiscreteCustomStates()._to_dict())
    assert set(band["customStates"]["states"][0]) == set(sdk.StateTransitionsDiscreteCustomState()._to_dict())
    lamp = panels["Indicator!door_ear"]
    assert set(lamp["rules"][0]) == set(sdk.IndicatorRule()._to_dict())
    assert lamp["path"] == "/door/presence.state.ear"
    mode = panels["Image!door_eye"]["imageMode"]
    assert set(mode) <= set(sdk.ImageModeConfig()._to_dict())
    assert mode == {"imageTopic": "/door/inputs/eye", "annotations": {"/door/boxes/eye": {"visible": True}}}
    assert panels["Image!door_side"]["imageMode"]["annotations"] == {}


def test_a_layout_is_a_file_that_foxglove_imports(tmp_path):
    file = tmp_path / "layout.json"
    write_layout(file, manifest_of(**ALL), ["door"])
    assert set(json.loads(file.read_text())) == {
        "configById",
        "globalVariables",
        "userNodes",
        "playbackConfig",
        "layout",
    }
