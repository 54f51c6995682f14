"""Engines of models of any streams and outputs: for this processor, and by TensorRT's compiler without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the models of these tests are exported with torch")
pytest.importorskip("onnx", reason="torch exports through onnx, and graphs are cast with it")

import msgspec

from taemi_edge.bundle.folder import Bundle, read_manifest, write_manifest
from taemi_edge.bundle.spec import HeadSpec
from taemi_edge.bundle.values import HEAD, Tolerance
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from tests.engines.targets import target
from tests.runtime.tensorrt.mixed import write_mixed_bundle

HEADS = {"blind to order": HeadSpec(), "in order, without masks": HeadSpec(masks=False, order_matters=True)}


@pytest.fixture(scope="module", params=HEADS)
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("mixed") / "bundle"
    return write_mixed_bundle(folder, HEADS[request.param])


def test_auto_chooses_for_every_part_and_verifies_every_output(graphs: Bundle, tmp_path: Path):
    made = build_engine(graphs.folder, target(runs="2"), "auto", tmp_path / "o", threads=1, cache=None)
    assert made.bundle.manifest.verified, made.record.failure
    assert list(made.bundle.manifest.parts) == list(graphs.manifest.part_names)
    assert [v.stage for v in made.record.verification] == [*graphs.manifest.part_names, "end-to-end"]
    assert {v.stage: v.flips for v in made.record.verification if v.flips is not None} == {HEAD: 0, "end-to-end": 0}
    for part in graphs.manifest.part_names:
        assert {c.precision for c in made.record.candidates if c.part == part} == {"fp32", "fp16"}


def test_a_head_whose_labels_flip_is_outside_its_tolerance(graphs: Bundle, tmp_path: Path):
    """Nothing moves but the labels: the golden outputs name the other class."""
    import numpy as np

    folder = tmp_path / "flipped"
    folder.mkdir()
    for file in graphs.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with np.load(folder / "golden.npz") as stored:
        arrays = {
            key: stored[key][..., ::-1] if key.startswith(f"{HEAD}|") and "|out|state" in key else stored[key]
            for key in stored.files
        }
    np.savez(folder / "golden.npz", **arrays)
    wide = {
        part: Tolerance(max_abs=100.0, cosine=-1.0, flips=0.5) for part in (*graphs.manifest.part_names, "end_to_end")
    }
    write_manifest(folder, msgspec.structs.replace(graphs.manifest, tolerances=wide))
    made = build_engine(folder, target(), "fp32", tmp_path / "o", threads=1, cache=None)
    assert made.bundle.manifest.verified is False
    assert made.record.failure == f"{HEAD} left its tolerance"


def test_every_graph_compiles_for_ampere(graphs: Bundle, tmp_path: Path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for x86-64 (extra `rtx`)")
    cache = EngineCache(tmp_path / "cache")
    made = build_engine(graphs.folder, target("rtx"), "fp16", tmp_path / "o", cache=cache)
    assert made.bundle.manifest.verified is False
    assert {p.file for p in read_manifest(tmp_path / "o").parts.values()} == {
        f"{part}.engine" for part in graphs.manifest.part_names
    }
