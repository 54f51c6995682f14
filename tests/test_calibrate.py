"""Calibration: what it makes, what another machine can reuse, and data that no range can rest on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

import msgspec
import onnx

from taemi_edge.bundle.folder import FILES, Bundle, open_bundle, read_manifest, write_manifest
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.spec import FLAVOURS, MODALITIES, PARTS, PRESENCE_PATTERNS
from taemi_edge.calibration.calibrate import RangesFile, calibrate_bundle
from taemi_edge.calibration.clips import part_feeds, spool_clips
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.errors import CalibrationError
from taemi_edge.parity.comparison import check_parity
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.commands import refused
from tests.conftest import FEW_CLIPS


def few(**changes: str) -> CalibrationRecipe:
    return load_recipe("calibration", "default", CalibrationRecipe, {**FEW_CLIPS, **changes})


def test_the_bundle_holds_every_part_in_every_flavour(calibrated: Bundle):
    manifest = calibrated.manifest
    assert {entry.name for entry in calibrated.folder.iterdir()} <= set(FILES)
    for part in PARTS:
        assert set(manifest.graphs[part]) == set(FLAVOURS)
        assert manifest.parts.of(part).precision == "int8"
        assert Graph.load(calibrated.part_file(part)).is_quantised
        fp32 = calibrated.folder / manifest.graphs[part]["fp32"]
        assert not Graph.load(fp32).is_quantised
    assert manifest.tolerances == manifest.tolerances_by["int8"]


def test_the_record_says_what_each_flavour_costs_on_clips_that_were_not_used(calibrated: Bundle):
    record = calibrated.manifest.calibration
    assert (record.clips, record.held_out, record.synthetic) == (6, 3, True)
    assert set(record.mean_pearson) == {"fp32", "fp16", "int8"}
    for part in PARTS:
        assert record.closeness[part]["fp16"].pearson > 0.9999
        assert record.closeness[part]["int8"].pearson > 0.98
    assert "powers down to 1e-10" in record.excluded["audio"]["frontend"]
    assert len(record.patterns) > 4  # the fusion head saw tokens
    assert all(0 < error < 0.2 for pair in record.layer_error.values() for error in pair)
    assert sum(record.alphas["text"].values()) > 3


def test_sensitivity_names_every_block_with_its_cost_and_its_saving(calibrated: Bundle):
    content = json.loads((calibrated.folder / "sensitivity.json").read_text())
    for part in PARTS:
        blocks = content["parts"][part]["blocks"]
        assert sum(block["macs_share"] for block in blocks) == pytest.approx(1)
        assert all(block["cost"] >= 0 or abs(block["cost"]) < 1e-9 for block in blocks)
        assert set(content["parts"][part]["methods"]) == {"minmax", "percentile", "entropy", "per tensor"}
    assert (calibrated.folder / "sensitivity.png").stat().st_size > 10_000


def test_int8_runs_and_is_the_same_model_as_fp32(calibrated_folder, tiny_folder):
    report, _ = check_parity(str(tiny_folder), str(calibrated_folder))
    assert {stage.stage: stage.cosine > 0.95 for stage in report.stages} == dict.fromkeys(
        ("vision", "audio", "text", "fusion", "end-to-end"), True
    )


def test_the_fusion_head_is_fed_tokens_in_every_pattern(corpus_folder, tiny, tmp_path):
    corpus = open_corpus(corpus_folder)
    spool = spool_clips(corpus, list(corpus.clips)[:9], tiny.folder, tmp_path, longest_s=5.0, workers=1)
    fed = part_feeds(spool, "fusion", tiny.tokens, 4, 2)
    live = {frozenset(m for m in MODALITIES if not np.array_equal(feeds[m][0, 0], tiny.tokens[m])) for feeds in fed}
    assert live == set(PRESENCE_PATTERNS)


def test_another_machine_makes_the_same_graphs_of_the_ranges(calibrated, tiny_folder, tmp_path):
    ranges = calibrated.folder / "ranges.json"
    again = calibrate_bundle(tiny_folder, None, few(), tmp_path / "again", ranges=ranges).bundle
    files = [file for flavours in calibrated.manifest.graphs.values() for file in flavours.values()]
    assert {f: again.manifest.sha256[f] for f in files} == {f: calibrated.manifest.sha256[f] for f in files}
    assert again.manifest.calibration.closeness == {}
    assert again.manifest.calibration.clips == 6


def test_clips_without_labels_are_judged_against_fp32_alone(cli, tiny_folder, corpus_folder, tmp_path):
    """As `run --record` keeps them."""
    folder = Path(shutil.copytree(corpus_folder, tmp_path / "losses"))
    for file in folder.glob("*_split.csv"):
        file.unlink()
    settings = {"min_clips": "4", "held_out": "4", "trial_clips": "2", "methods": '["minmax"]', "budget.pearson": "0.5"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    done = cli("calibrate", tiny_folder, "--data", folder, "--output", tmp_path / "out", "--workers", 1, *words)
    assert done.returncode == 0, done.stderr
    assert "the clips have none: judged against FP32 alone" in done.stdout
    record = open_bundle(tmp_path / "out").manifest.calibration
    assert record.held_out >= 4
    assert record.mean_pearson == dict.fromkeys(("fp32", "fp16", "int8"))
    assert record.closeness["audio"]["int8"].pearson > 0.5
    refused(cli("extract", tiny_folder, "--data", folder, "--output", tmp_path / "store"), "train_split.csv")


def test_ranges_of_other_weights_are_refused(calibrated, tiny_folder, tmp_path):
    content = msgspec.json.decode((calibrated.folder / "ranges.json").read_bytes(), type=RangesFile)
    other = msgspec.structs.replace(content.parts["text"], weights_sha256="0" * 64)
    file = tmp_path / "ranges.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(content, parts={**content.parts, "text": other})))
    with pytest.raises(CalibrationError, match="expected the weights that the ranges were made for"):
        calibrate_bundle(tiny_folder, None, few(), tmp_path / "out", ranges=file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["attention_matmuls", "softmax", "layer_norm"])
def test_what_stays_in_higher_precision_is_an_option(option, tiny_folder, corpus_folder, tmp_path):
    recipe = few(**{option: "true", "methods": '["minmax"]', "budget.pearson": "0.5"})
    made = calibrate_bundle(tiny_folder, open_corpus(corpus_folder), recipe, tmp_path / "out", workers=1).bundle
    graph, exact = Graph.load(made.part_file("text")), Graph.load(tiny_folder / "text.onnx")
    from_int8 = {node.output[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    wanted = {"attention_matmuls": "MatMul", "softmax": "Softmax", "layer_norm": "LayerNormalization"}[option]
    nodes = exact.attention_matmuls() if wanted == "MatMul" else [n for n in exact.nodes if n.op_type == wanted]
    names = {node.name for node in nodes}
    assert names
    assert all(node.input[0] in from_int8 for node in graph.nodes if node.name in names)


# ----------------------------------------------------------------------------------------------------- bad input


def test_too_few_clips(cli, tiny_folder, corpus_folder, tmp_path):
    done = cli("calibrate", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "out", "--clips", 64)
    refused(done, "expected at least 8 clips to judge on (split test or valid), got 4")
    assert list(tmp_path.iterdir()) == []


def test_clips_of_one_presence_pattern(tiny_folder, corpus_folder, tmp_path):
    silent = Path(shutil.copytree(corpus_folder, tmp_path / "corpus"))
    shutil.rmtree(silent / "transcripts")
    with pytest.raises(
        CalibrationError, match="each stream live in some, got .* alone: nothing tells the range of text"
    ):
        calibrate_bundle(tiny_folder, open_corpus(silent), few(), tmp_path / "out", workers=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]


def damaged(tiny_folder: Path, folder: Path, part: str, name: str, value: float) -> Path:
    """The tiny bundle with one initialiser of a part filled with a value."""
    shutil.copytree(tiny_folder, folder)
    model = onnx.load(folder / f"{part}.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    filled = np.full(onnx.numpy_helper.to_array(tensor).shape, value, np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(filled, name))
    onnx.save(model, folder / f"{part}.onnx")
    write_manifest(folder, read_manifest(folder))
    return folder


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "expected finite activations, got NaN"), (0.0, "expected activations that vary, got 0")],
    ids=["nan", "constant"],
)
def test_activations_that_are_nan_or_constant_are_named(value, words, tiny_folder, corpus_folder, tmp_path):
    bundle = damaged(tiny_folder, tmp_path / "b", "text", "backbone.embeddings.LayerNorm.weight", value)
    if value == 0.0:
        bundle = damaged(bundle, tmp_path / "c", "text", "backbone.embeddings.LayerNorm.bias", value)
    tensor = "text: /backbone/embeddings/LayerNorm/LayerNormalization_output_0: "
    with pytest.raises(CalibrationError, match=tensor + words):
        calibrate_bundle(bundle, open_corpus(corpus_folder), few(), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_is_quantised_already(cli, calibrated_folder, corpus_folder, tmp_path):
    done = cli("calibrate", calibrated_folder, "--data", corpus_folder, "--output", tmp_path / "out")
    refused(done, "vision.onnx is int8 already: name the exported bundle")
    assert not (tmp_path / "out").exists()


def test_neither_clips_nor_ranges(cli, tiny_folder):
    refused(cli("calibrate", tiny_folder), "expected --data CORPUS to calibrate on, or --ranges of another machine")


def test_modelopt_is_an_extra_of_its_own(cli, tiny_folder, corpus_folder, tmp_path):
    if importlib.util.find_spec("modelopt"):
        pytest.skip("nvidia-modelopt is installed")
    done = cli(
        *("calibrate", tiny_folder, "--data", corpus_folder, "--quantiser", "modelopt", "--output", tmp_path / "o")
    )
    refused(done, "--quantiser modelopt needs the package 'nvidia-modelopt'")


def test_inspect_says_what_it_was_calibrated_on(cli, calibrated_folder):
    done = cli("inspect", calibrated_folder)
    assert "calibrated    on 6 clips of the synthetic corpus of seed 3 (14 clips) by taemi-edge" in done.stdout


def test_a_ranges_file_that_is_none(cli, tiny_folder, tmp_path):
    (tmp_path / "r.json").write_text("{}")
    done = cli("calibrate", tiny_folder, "--ranges", tmp_path / "r.json", "--output", tmp_path / "out")
    refused(done, "expected the ranges.json of a calibrated bundle")


def test_a_budget_that_is_missed_is_exit_1_and_says_by_how_much(cli, tiny_folder, corpus_folder, tmp_path):
    changes = {**FEW_CLIPS, "methods": '["minmax"]', "alphas": "[0.5]", "budget.mean_pearson_drop": "-2"}
    words = [f"--set={key}={value}" for key, value in changes.items()]
    done = cli("calibrate", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "out", *words)
    assert done.returncode == 1, done.stderr  # labels would have to be met by two more than FP32 meets them
    assert "vision in INT8: expected a mean Pearson on labels of at least" in done.stderr
    assert open_bundle(tmp_path / "out").manifest.calibration is not None  # to be looked at; auto refuses its INT8


def test_the_bundle_that_is_read_is_never_written_over(cli, tiny_folder, corpus_folder):
    done = cli("calibrate", tiny_folder, "--data", corpus_folder, "--output", tiny_folder)
    refused(done, "expected another folder than the one that is read")
    assert open_bundle(tiny_folder).manifest.calibration is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch=0", "expected batch >= 1, got 0"),
        ("held_out=0", "expected held_out >= 1, got 0"),
        ("rows=1", "expected rows >= 2"),
        ("percentile=200", "expected 0 < percentile <= 100, got 200"),
        ("alphas=[2]", "expected every alpha between 0 and 1"),
        ("exclude.sound.conv=x", "expected vision, audio, text or fusion in exclude"),
    ],
)
def test_values_that_no_calibration_can_have(change, words, cli, tiny_folder, corpus_folder):
    refused(cli("calibrate", tiny_folder, "--data", corpus_folder, "--set", change), words)


def test_ctrl_c_leaves_nothing_behind(tiny_folder, corpus_folder, tmp_path):
    command = [sys.executable, "-m", "taemi_edge", "calibrate", str(tiny_folder), "--data", str(corpus_folder)]
    words = [f"--set={key}={value}" for key, value in FEW_CLIPS.items()]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    output = ["--output", str(tmp_path / "out")]
    with subprocess.Popen([*command, *words, *output], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert "collecting ranges" in process.stderr.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert rest.strip().splitlines()[-1].startswith("taemi-edge: interrupted")
    assert [entry.name for entry in tmp_path.iterdir()] == ["scratch"]
    assert list(scratch.glob("taemi-edge-*")) == []
