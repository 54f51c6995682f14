"""taemi-nano, the bundle in the package: small, whole, honest about what it was trained on, and what its page says."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.named import find_bundle, shipped_bundles
from taemi_edge.parity.comparison import check_parity
from tools import make_nano

ROOT = Path(__file__).parent.parent
MOST_BYTES = 1_000_000
FIGURES = json.loads((ROOT / "benchmarks" / "taemi-nano.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder() -> Path:
    return find_bundle(make_nano.NAME)


def test_all_that_ships_is_small(folder):
    assert shipped_bundles() == ["taemi-nano"]
    assert sum(file.stat().st_size for file in folder.rglob("*")) < MOST_BYTES
    assert {file.name for file in folder.iterdir()} == {"manifest.json", *open_bundle(folder).manifest.sha256}


def test_it_says_that_it_was_trained_on_synthetic_clips(folder):
    manifest = open_bundle(folder).manifest
    assert manifest.trained
    assert "synthetic corpus of seed 0" in manifest.trained_on
    assert str(ROOT) not in (folder / "manifest.json").read_text(encoding="utf-8")


def test_it_computes_what_pytorch_computed(folder):
    report, _ = check_parity(str(folder), threads=1)
    assert report.ok, report.first_failure
    assert [stage.stage for stage in report.stages] == ["vision", "audio", "text", "fusion", "end-to-end"]


def test_its_curves_follow_the_demo_clip(folder):
    found = make_nano.follows(folder, ())
    told = FIGURES["demo_clip"]["all"]
    assert found["right"] == told["right"] >= 2
    for line, known in zip(found["lines"], told["lines"], strict=True):
        assert (line["shows"], line["stands_out"]) == (known["shows"], known["stands_out"])
        assert line["above_its_mean"] == pytest.approx(known["above_its_mean"], abs=0.01)


def test_a_lost_stream_moves_its_intensities(folder, demo_video, demo_vtt):
    from taemi_edge.loaded_model import load

    def curves(*drops: str) -> np.ndarray:
        with load("taemi-nano", threads=1) as model:
            made = list(model.run(demo_video, transcript=demo_vtt, drops=drops, hop_s=2.0))
        return np.array([list(p.intensities.values()) for p in made])

    whole = curves()
    assert whole.shape == (8, 6)
    assert whole.std(0).max() > 0.05
    for stream in ("vision", "audio", "text"):
        assert np.abs(curves(f"{stream}@0-60") - whole).max() > 0.02


def test_the_figures_are_those_of_this_bundle(folder):
    assert FIGURES["bundle_bytes"] == sum(open_bundle(folder).sizes.values())
    assert FIGURES["bundle_sha256"] == make_nano.parts_sha256(folder)
    scores = FIGURES["evaluation"]
    assert scores["synthetic"]
    assert scores["clean"]["interval"]["low"] > 0.3


def test_the_page_has_the_figures():
    page = make_nano.PAGE.read_text(encoding="utf-8")
    assert make_nano.page_with(FIGURES, page) == page


@pytest.mark.once
def test_the_wheel_has_it_and_its_recipe(tmp_path):
    build = pytest.importorskip("hatchling.builders.wheel", reason="wheels are made by hatchling")
    wheel = next(iter(build.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    with zipfile.ZipFile(wheel) as packed:
        sizes = {info.filename: info.file_size for info in packed.infolist()}
    ours = {name: size for name, size in sizes.items() if name.startswith("taemi_edge/assets/bundles/")}
    assert 0 < sum(ours.values()) < MOST_BYTES
    assert "taemi_edge/assets/bundles/taemi-nano/manifest.json" in ours
    assert "taemi_edge/recipes/export/taemi-nano.toml" in sizes
