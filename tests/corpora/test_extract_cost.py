"""What extraction costs is told by stage, and nothing is opened or run that it does not need."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.corpora.clip_encoding import encode_rows, rows_a_call
from taemi_edge.corpora.clip_reading import Reading
from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.corpora.stage_clock import DECODE, FACES, START, STORE, encoding
from taemi_edge.errors import BundleError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.parity.artefact import open_artefact
from taemi_edge.runtime import onnx_sessions
from taemi_edge.taemi.vidmimic2 import open_corpus


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_the_cpu_seconds_of_each_stage_are_told(corpus_folder, tiny_folder, tmp_path, workers: int):
    result = extract_features(
        open_corpus(corpus_folder), str(tiny_folder), tmp_path / "store", ExtractOptions(workers=workers)
    )
    stages = {START, DECODE, FACES, STORE, *map(encoding, ("vision", "audio", "text"))}
    assert stages <= result.cpu_s.keys()
    assert all(result.cpu_s[stage] > 0 for stage in stages)


def test_a_store_that_is_complete_costs_nothing(corpus_folder, store_folder, tiny_folder, tmp_path):
    store = shutil.copytree(store_folder, tmp_path / "store")
    result = extract_features(open_corpus(corpus_folder), str(tiny_folder), store, ExtractOptions(workers=1))
    assert result.encoded == 0
    assert not result.cpu_s


def test_the_summary_and_the_json_have_the_stages(corpus_folder, tiny_folder, tmp_path, cli):
    words = ("--output", tmp_path / "store", "--workers", "1", "--json", tmp_path / "cost.json")
    done = cli("extract", tiny_folder, "--data", corpus_folder, *words)
    assert done.returncode == 0, done.stderr
    assert "CPU seconds a clip: " in done.stderr
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["encoded"] == 14
    assert cost["seconds"] > 0
    assert {START, DECODE, encoding("audio")} <= cost["cpu_s"].keys()


def test_an_encoder_whose_features_are_provided_does_not_run(corpus_folder, tiny_folder, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(corpus_folder, corpus)
    (corpus / "vit").mkdir()
    for clip in open_corpus(corpus).clips:
        (corpus / "vit" / f"{clip.id}.pkl").write_bytes(pickle.dumps(np.ones((5, 16), np.float32)))
    options = ExtractOptions(Reading(features={"vision": "vit"}), workers=1)
    result = extract_features(open_corpus(corpus), str(tiny_folder), tmp_path / "store", options)
    assert encoding("vision") not in result.cpu_s
    assert encoding("audio") in result.cpu_s


@pytest.mark.parametrize(
    ("opened", "expected"),
    [("all", {"vision", "audio", "text", "fusion"}), ("encoders", {"vision", "audio", "text"}), ("nothing", set())],
)
def test_the_parts_that_are_not_run_are_not_opened(tiny_folder, monkeypatch, opened, expected):
    parts: set[str] = set()
    real = onnx_sessions.OrtSession.__init__

    def noting(self, bundle, part, *rest):
        parts.add(part)
        real(self, bundle, part, *rest)

    monkeypatch.setattr(onnx_sessions.OrtSession, "__init__", noting)
    with open_artefact(str(tiny_folder), threads=1, opened=opened) as artefact:
        assert artefact.encoder_keys().keys() == {"vision", "audio", "text"}
    assert parts == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_a_part_that_cannot_be_opened_is_told_as_that(corpus_folder, tiny_folder, tmp_path, workers: int):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_folder, bundle)
    file = open_bundle(bundle).manifest.parts["vision"].file
    (bundle / file).write_bytes(b"no graph")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["sha256"][file] = hashlib.sha256(b"no graph").hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="expected an ONNX graph"):
        extract_features(open_corpus(corpus_folder), str(bundle), tmp_path / "store", ExtractOptions(workers=workers))


def test_rows_share_a_call_as_their_size_asks():
    large, short = np.zeros((224, 224, 3), np.uint8), np.zeros(8_000, np.float32)
    huge = np.zeros((1080, 1920, 3), np.uint8)
    assert [rows_a_call({"x": value}) for value in (large, short, huge)] == [2, MAX_BATCH, 1]


@pytest.mark.parametrize(
    ("device", "mixes", "expected"), [("cpu", True, 1), ("cpu", False, None), ("cuda", False, MAX_BATCH)]
)
def test_rows_that_change_each_other_have_calls_of_their_own(tiny_folder, device, mixes: bool, expected: int | None):
    sizes: list[int] = []
    with open_artefact(str(tiny_folder), threads=1, opened="encoders") as artefact:

        def run(part, feeds):
            sizes.append(len(feeds["pixels"]))
            return artefact.run(part, feeds)

        spec = artefact.streams["vision"]
        rows = [{"pixels": np.zeros((*spec.size_hw, 3), np.uint8)}] * 20
        changed = replace(artefact, run=run, device=device, mixes_rows=lambda part: mixes)
        features = encode_rows(changed, {"vision": rows})["vision"]
    assert len(features) == 20
    assert max(sizes) == (expected or rows_a_call(rows[0]))
