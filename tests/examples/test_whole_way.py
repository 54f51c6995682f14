"""Each example goes the way that its README says: declared, exported, held to PyTorch in every pattern, and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="examples are PyTorch models")
pytest.importorskip("onnx", reason="graphs are checked with onnx")

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.spec import Manifest
from tests.examples.loading import EXAMPLES, load_example

#: The streams of each example, and how many presence patterns they have.
EXPORTED = {
    "digits": (("fac", "fou", "kar", "mor", "pix", "zer"), 64),
    "doorway": (("camera", "microphone"), 4),
    "gesture": (("camera", "imu"), 4),
    "faces": (("camera",), 2),
    "llm-text": (("vision", "audio", "text"), 8),
}


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request, cli, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("examples") / request.param
    done = cli("export", f"{EXAMPLES / request.param / 'model.py'}:build", "--output", folder)
    assert done.returncode == 0, done.stderr
    return request.param, folder


def _manifest(folder: Path) -> Manifest:
    return open_bundle(folder).manifest


def test_the_bundle_has_the_streams_and_patterns_of_the_declaration(exported):
    name, folder = exported
    manifest = _manifest(folder)
    streams, patterns = EXPORTED[name]
    assert tuple(manifest.streams) == streams
    assert len(manifest.patterns) == patterns
    assert {part.exporter for part in manifest.parts.values()} == {"torchscript"}


def test_parity_holds_without_pytorch(exported, cli, tmp_path):
    _, folder = exported
    done = cli("parity", folder, "--json", tmp_path / "parity.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "parity.json").read_text())["ok"] is True


def test_a_doorway_is_seen_and_heard(exported, cli, tmp_path):
    name, folder = exported
    if name != "doorway":
        pytest.skip("the recording of another example")
    data = load_example("doorway", "doorway_data.py")
    labels = data.write_clip(tmp_path / "visit.mp4", seed=4).labels
    done = cli("run", folder, tmp_path / "visit.mp4", "--drop", "microphone@3-6")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["time_s"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lines[4]["presence"] == {"camera": "live", "microphone": "missing"}
    assert lines[4]["latency_ms"]["microphone"] == 0
    assert lines[-1]["presence"] == {"camera": "live", "microphone": "live"}
    assert lines[-1]["feeling"]["valence"] == pytest.approx(labels[0], abs=0.35)


def test_an_expression_is_read_from_the_drawn_faces_of_the_demo(exported, cli, demo_video):
    name, folder = exported
    if name != "faces":
        pytest.skip("the recording of another example")
    done = cli("run", folder, demo_video)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    live = [line for line in lines if line["presence"]["camera"] == "live"]
    assert len(live) > 40
    for line in live:
        given = line["expression"]
        assert sum(given["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
        assert given["best"] == max(given["probabilities"], key=given["probabilities"].get)
