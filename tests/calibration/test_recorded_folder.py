"""What a live run records around losses is a corpus for the model that ran, whatever streams it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model is written in PyTorch")
pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from torch import Tensor, nn

import taemi_edge as te
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.calibration.calibrate import calibrate_bundle
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.corpora.opening import find_corpus, open_any_corpus
from taemi_edge.corpora.stream_files import sample_rows
from tests.live.running import LiveRun
from tests.media import write_media

SOURCES = 2


class Camera(nn.Module):
    """Pictures (B, 8, 8, 3) to vectors (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(192, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.out(pixels.float().flatten(1) / 255)


class Head(nn.Module):
    """The mean of what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, camera: Tensor, camera_mask: Tensor, imu: Tensor, imu_mask: Tensor) -> Tensor:
        steps, shown = torch.cat([camera, imu], 1), torch.cat([camera_mask, imu_mask], 1)[..., None].float()
        return self.out((steps * shown).sum(1) / shown.sum(1).clamp(min=1))


def _export(folder: Path) -> te.Bundle:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    samples = [
        {
            "camera/pixels": random.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8),
            "imu/values": random.normal(size=(n, 2)),
        }
        for n in (4, 6)
    ]
    streams = {
        "camera": te.Stream(te.Video((8, 8), 5.0), Camera(), missing="mask"),
        "imu": te.Stream(te.Series(2), nn.Linear(2, 4), missing="mask"),
    }
    outputs = {"state": te.Classes(["rest", "walk", "run"])}
    return te.export_model(te.Model(streams, Head(), outputs, samples=samples, window_s=2.0, hop_s=0.5), folder)[0]


@pytest.mark.once
def test_a_recorded_folder_calibrates_the_model_that_recorded_it(tmp_path: Path):
    bundle = _export(tmp_path / "model")
    room = write_media(tmp_path / "room.mkv", frame_times_s=[n / 10 for n in range(35)])
    imu = tmp_path / "imu.csv"
    imu.write_text("time_s,x,y\n" + "".join(f"{n / 5},{n % 3},{n % 7}\n" for n in range(8)))
    folder, config = tmp_path / "losses", tmp_path / "live.toml"
    config.write_text(
        "".join(
            f'[[source]]\nname = "{number}"\nuri = "{room}"\nstreams = {{imu = "{imu}"}}\n' for number in range(SOURCES)
        )
        + f'[record]\nfolder = "{folder}"\nbefore_s = 1.5\nafter_s = 0.5\n'
    )
    with LiveRun(tmp_path, bundle.folder, "--live", "--config", config) as run:
        assert run.wait() == 0, run.log
    losses = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    assert {event["modality"] for loss in losses for event in loss["losses"]} == {"camera", "imu"}
    assert find_corpus(folder) is None  # nobody has labelled it
    corpus = open_any_corpus(folder, needs_labels=False)
    assert len(corpus.clips) == len(losses) == 2 * SOURCES
    found = [sample_rows(clip, bundle.manifest.streams, {}) for clip in corpus.clips]
    assert all(rows["camera"] for rows in found)
    assert {len(rows["imu"]) for rows in found} == {0, 8}  # up to its loss, and after it
    few = {
        "clips": "3",
        "min_clips": "1",
        "held_out": "1",
        "trial_clips": "1",
        "methods": '["minmax"]',
        "alphas": "[0.5]",
    }
    recipe = load_recipe("calibration", "default", CalibrationRecipe, few)
    record = calibrate_bundle(bundle.folder, corpus, recipe, tmp_path / "calibrated", workers=1).record
    assert (record.data, record.scores["fp32"]) == ("losses", None)
    assert min(by["fp16"].cosine for by in record.closeness.values()) > 0.999
