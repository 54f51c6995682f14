"""A declared model opens as an artefact; what is none is left to others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="a declared model is PyTorch's")

from taemi_edge.errors import ContractError
from taemi_edge.export.opening import open_model
from taemi_edge.parity.artefact import open_artefact

DECLARED = """
import taemi_edge as te
import torch

class Head(torch.nn.Module):
    def forward(self, imu):
        return imu.mean(1)[:, :2]

def build():
    return te.Model(
        streams={"imu": te.Stream(te.Series(channels=6), torch.nn.Linear(6, 4))},
        head=Head(), outputs={"state": te.Classes(["still", "moving"])},
        samples=[{"imu/values": [0.1] * 6}], window_s=1.0, hop_s=0.5, metric=lambda predicted, true: 0.5)
"""


def test_a_function_that_declares_a_model_is_an_artefact(tmp_path: Path):
    (tmp_path / "declared_here.py").write_text(DECLARED)
    with open_artefact(f"{tmp_path / 'declared_here.py'}:build") as artefact:
        assert not artefact.is_bundle
        assert list(artefact.streams) == ["imu"]
        assert artefact.run("imu", {"values": np.zeros((2, 6), np.float32)})["features"].shape == (2, 4)
        assert callable(artefact.metric)
        assert {case.part for case in artefact.cases()} == {"imu", "fusion"}


def test_what_declares_nothing_is_left_to_others(tmp_path: Path):
    assert open_model("taemi-tiny") is None
    assert open_model(str(tmp_path)) is None
    with pytest.raises(ContractError, match="nothing.py"):
        open_model(f"{tmp_path / 'nothing.py'}:build")
