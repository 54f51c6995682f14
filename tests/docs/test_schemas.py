"""The published JSON Schemas: as the tool writes them, and right for what commands write of TAEMI and of other models.

Besides, every command that any test runs is checked against them (`tests/conftest.py`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("griffe", reason="the site's tools need the extra `docs`")
pytest.importorskip("jsonschema", reason="schemas are checked on the development interpreter")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.load import LoadEvent
from taemi_edge.runtime.prediction import Degraded, Prediction
from tests.schemas import FOLDER, check_written, require_fits, require_lines_fit
from tools.site.schema_catalog import CATALOG
from tools.site.schemas import schema_files
from tools.site.written import differing

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent.parent
#: Which schema the TOML of a place has.
RECIPES = {
    "export/*.toml": "export-recipe",
    "calibration/*.toml": "calibration-recipe",
    "engines/*.toml": "engine-target",
    "packaging/live.toml": "live",
    "examples/only-onnx/model.toml": "onnx-model",
    "examples/llm-text/*.toml": "export-recipe",
}


def _recipes() -> Iterator[tuple[str, Path]]:
    for pattern, name in RECIPES.items():
        yield from ((name, file) for file in sorted(ROOT.glob(pattern)))


def test_the_files_are_as_the_tool_writes_them():
    assert differing(schema_files()) == [], "run `python -m tools.site.schemas`"
    assert {file.name for file in FOLDER.iterdir()} == {f"{entry.name}.schema.json" for entry in CATALOG}


@pytest.mark.parametrize(("name", "file"), list(_recipes()), ids=lambda value: getattr(value, "name", value))
def test_recipes_fit_and_name_their_schema_for_editors(name: str, file: Path):
    text = file.read_text(encoding="utf-8")
    require_fits(name, tomllib.loads(text))
    assert text.splitlines()[0].endswith(f"/reference/schemas/{name}.schema.json")
    assert text.startswith("#:schema https://")


def test_what_does_not_fit_is_refused():
    with pytest.raises(AssertionError, match=r"live.schema.json: \$: .*'sauce' was unexpected"):
        require_fits("live", {"source": [], "sauce": 1})
    with pytest.raises(AssertionError, match="prediction.schema.json"):
        require_fits("prediction", {"time_s": 1.0})


@pytest.mark.parametrize("bundle", ["tiny_folder", "robot_folder"])
def test_a_bundle_of_any_model_and_what_is_said_of_it(bundle: str, request, cli_here, tmp_path: Path):
    folder = request.getfixturevalue(bundle)
    require_fits("manifest", json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    for command in ("inspect", "parity"):
        words = (command, str(folder), "--json", str(tmp_path / f"{command}.json"))
        assert cli_here(*words).returncode == 0
        assert check_written(words, None) == [command]


def test_predictions_of_intensities_and_of_classes(robot_folder: Path, demo_video: Path, cli_here, tmp_path: Path):
    """The robot's model has classes, numbers, and losses in its lines."""
    words = ("run", str(robot_folder), "--stream", f"eye={demo_video}", "--drop", "eye@1-3")
    words += ("--output", str(tmp_path / "p.jsonl"))
    assert cli_here(*words).returncode == 0
    assert check_written(words, None) == ["prediction"]


def test_fields_that_are_there_only_where_they_say_something():
    prediction = Prediction(
        source="door",
        time_s=1.0,
        window_s=(0.0, 1.0),
        outputs={"state": None, "sound": {"best": "hiss", "probabilities": {"hiss": 0.9, "knock": 0.1}, "present": []}},
        presence={"eye": "live"},
        age_ms={"eye": None},
        latency_ms={"total": 3.5, "eye": None},
        reason={},
        status="no prediction",
        model_id="0123456789ab",
        degraded=Degraded(frames_share=0.5, hop_s=1.0, reason="hops of 0.5 s took 1.2 s"),
    )
    require_lines_fit("prediction", [prediction.to_json()])


def test_every_kind_of_event():
    events = (
        PresenceEvent(source="door", time_s=2.5, stream="audio", before="live", after="missing", reason="silence"),
        ModelEvent(time_s=8.0, before="a3c1", after="77f0", taken_up=True, missed=0, reason=None),
        LoadEvent(time_s=9.5, degraded=True, frames_share=0.5, hop_s=0.5, reason=None),
    )
    require_lines_fit("event", [event.to_json() for event in events])
    with pytest.raises(AssertionError):
        require_fits("event", {"type": "presence", "time_s": 1.0})


def test_doctor(cli):
    require_fits("doctor", json.loads(cli("doctor", "--json").stdout))
