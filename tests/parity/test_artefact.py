"""Artefacts: what a bundle offers when it is opened, and the keys that its feature stores are matched by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import InputError
from taemi_edge.parity.artefact import open_artefact
from taemi_edge.taemi.names import MODALITIES


def test_a_bundle_runs_part_by_part(tiny: Bundle):
    with open_artefact(str(tiny.folder), threads=1) as artefact:
        assert artefact.is_bundle
        spec = tiny.manifest.streams["vision"]
        pixels = np.zeros((2, *spec.size_hw, 3), np.uint8)
        assert artefact.part("vision")({"pixels": pixels})["features"].shape == (2, spec.feature_dim)
        assert {token.shape for token in artefact.tokens.values()} == {(1, 16)}
        assert {case.part for case in artefact.cases()} == {"vision", "audio", "text", "fusion"}


def test_keys_depend_on_the_encoder_and_its_chunking_alone(tiny_folder: Path, mobile_folder: Path):
    with open_artefact(str(tiny_folder)) as tiny, open_artefact(str(mobile_folder)) as mobile:
        ours, theirs = tiny.encoder_keys(), mobile.encoder_keys()
        assert tiny.encoder_keys() == ours
    assert all(ours[m].sha256 != theirs[m].sha256 for m in MODALITIES)
    assert "chunk_s 0.5" in ours["audio"].made_by


def test_a_checkpoint_has_the_keys_of_its_bundle(tiny_folder: Path):
    pytest.importorskip("torch", reason="a recipe is opened with PyTorch")
    with open_artefact(str(tiny_folder)) as bundle, open_artefact("taemi-tiny") as recipe:
        assert not recipe.is_bundle
        assert bundle.encoder_keys() == recipe.encoder_keys()


def test_nothing_there_is_one_sentence(tmp_path: Path):
    expected = pytest.raises(InputError, match="expected a bundle folder, a checkpoint folder or a recipe")
    with expected, open_artefact(str(tmp_path / "nothing")):
        pass
