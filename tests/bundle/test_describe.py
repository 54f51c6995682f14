"""A description has the sizes and signatures of all parts, and is only made of a whole bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taemi_edge.bundle.describe import describe_bundle
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import BundleError
from taemi_edge.taemi.names import MODALITIES, PARTS


def test_every_part_is_described(tiny: Bundle):
    described = describe_bundle(tiny.folder)
    assert [part.part for part in described.parts] == list(PARTS)
    assert all(part.bytes == tiny.part_file(part.part).stat().st_size for part in described.parts)
    assert described.parts[0].inputs[0].startswith("pixels uint8 (frames, ")
    assert described.hashes_verified == len(tiny.manifest.sha256)
    assert set(described.token_norms) == set(MODALITIES)
    assert all(norm > 0 for norm in described.token_norms.values())


def test_a_damaged_bundle_is_not_described(tiny: Bundle, tmp_path: Path):
    copy = Path(shutil.copytree(tiny.folder, tmp_path / "bundle"))
    (copy / "text.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"text.onnx is not the file"):
        describe_bundle(copy)
