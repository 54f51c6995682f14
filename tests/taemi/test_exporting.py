"""Export: all three recipes, dynamic dimensions that are proven, and nothing left behind when it fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

import onnx

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.values import Tolerance
from taemi_edge.errors import CheckFailedError, ExportError, InputError, OutputError
from taemi_edge.export import tracing
from taemi_edge.progress import SilentProgress
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.taemi.checkpoint import Checkpoint, load_checkpoint, new_checkpoint, open_checkpoint, save_checkpoint
from taemi_edge.taemi.exporting import export_checkpoint
from taemi_edge.taemi.names import PARTS
from taemi_edge.taemi.published_heads import PUBLISHED_HEADS
from taemi_edge.taemi.recipe import EncoderRecipe, ModelRecipe


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint("taemi-tiny")


def check_graphs(bundle: Bundle) -> None:
    for part in PARTS:
        graph = onnx.load(bundle.part_file(part))
        onnx.checker.check_model(graph, full_check=True)
        assert graph.opset_import[0].version == 17
        assert not [node.op_type for node in graph.graph.node if node.domain not in ("", "ai.onnx")]


def check_other_lengths(bundle: Bundle) -> None:
    """Batches and lengths that were neither traced nor compared."""
    rng = np.random.default_rng(0)
    with open_sessions(bundle, threads=2) as sessions:
        manifest = bundle.manifest
        for frames in (1, 3):
            pixels = rng.integers(0, 256, (frames, *manifest.streams["vision"].size_hw, 3), dtype=np.uint8)
            assert sessions["vision"].run({"pixels": pixels})["features"].shape[0] == frames
        for batch, seconds in ((1, 0.31), (3, 0.87)):
            samples = rng.standard_normal((batch, round(seconds * 16_000))).astype(np.float32) * 0.1
            features = sessions["audio"].run({"samples": samples})["features"]
            assert features.shape[0] == batch
            assert features.shape[2] == manifest.streams["audio"].feature_dim
        for batch, length in ((1, 3), (3, 19)):
            ids = np.ones((batch, length), np.int32)
            assert sessions["text"].run({"ids": ids, "mask": ids})["features"].shape[:2] == (batch, length)
        feeds = {}
        for steps, m in ((1, "vision"), (31, "audio"), (3, "text")):
            feeds[m] = rng.standard_normal((5, steps, manifest.streams[m].feature_dim)).astype(np.float32)
            feeds[f"{m}_mask"] = np.ones((5, steps), np.int32)
        assert sessions["fusion"].run(feeds)["intensities"].shape == (5, 6)


@pytest.mark.parametrize("recipe", ["taemi-tiny", "taemi-mobile"])
def test_a_recipe_exports_and_runs_at_any_length(recipe: str, tiny_folder: Path, mobile_folder: Path):
    bundle = open_bundle({"taemi-tiny": tiny_folder, "taemi-mobile": mobile_folder}[recipe])
    check_graphs(bundle)
    check_other_lengths(bundle)
    assert bundle.manifest.trained == (recipe == "taemi-mobile")  # it names a head that ships
    assert bundle.manifest.provenance.versions["torch"] == torch.__version__


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_taemi_base_exports_at_full_size_with_random_weights(tmp_path: Path):
    """ViT-B/16, wav2vec2-base and BERT-base."""
    checkpoint = open_checkpoint("taemi-base", random_weights=True)
    bundle, report = export_checkpoint(checkpoint, tmp_path / "taemi-base", source="taemi-base")
    assert report.ok
    assert {part: round(bundle.manifest.parts[part].parameters / 1e6) for part in ("vision", "audio", "text")} == {
        "vision": 86,
        "audio": 94,
        "text": 109,
    }
    assert set(bundle.manifest.provenance.weights.values()) == {"random"}
    check_graphs(bundle)
    check_other_lengths(bundle)


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SPEECH = {
    **SMALL,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [20, 8, 8],
    "conv_stride": [10, 8, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
WORDS = {**SMALL, "vocab_size": 259, "max_position_embeddings": 80}
OTHER_ENCODERS = [
    ("vision", "dinov2", {**SMALL, "image_size": 32, "patch_size": 16}),
    ("vision", "clip_vision_model", {**SMALL, "image_size": 32, "patch_size": 16}),
    ("vision", "convnext", {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}),
    ("vision", "resnet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
    ("audio", "hubert", SPEECH),
    ("audio", "wavlm", SPEECH),
    ("text", "roberta", WORDS),
    ("text", "distilbert", {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "vocab_size": 259}),
]


@pytest.mark.parametrize(
    ("modality", "architecture", "config"), OTHER_ENCODERS, ids=lambda x: x if type(x) is str else ""
)
def test_other_transformers_encoders_export_too(tmp_path: Path, modality: str, architecture: str, config: dict):
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe)
    encoder = EncoderRecipe(architecture=architecture, config=config)
    changed = msgspec.structs.replace(getattr(recipe, modality), encoder=encoder)
    if modality == "vision":
        changed = msgspec.structs.replace(changed, pooling="mean")
    checkpoint = new_checkpoint(msgspec.structs.replace(recipe, **{modality: changed}))
    _, report = export_checkpoint(checkpoint, tmp_path / "bundle", source="x")
    assert report.ok


def test_a_frozen_graph_is_no_export(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracing, "graph_problems", lambda *_: ["frames is frozen"])
    with pytest.raises(ExportError, match=r"vision: .*frames is frozen"):
        export_checkpoint(checkpoint, tmp_path / "out", source="x")
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_is_never_replaced_by_its_export(checkpoint: Checkpoint, tmp_path: Path):
    save_checkpoint(checkpoint, tmp_path / "ck")
    with pytest.raises(OutputError, match="holds other files .* and is not replaced"):
        export_checkpoint(checkpoint, tmp_path / "ck", source="x")
    assert load_checkpoint(tmp_path / "ck").recipe == checkpoint.recipe


@pytest.mark.parametrize("step", ["exporting text", "recording golden feeds", "checking parity"])
def test_an_interrupted_export_leaves_no_half_bundle(checkpoint: Checkpoint, tmp_path: Path, step: str):
    class Interrupting(SilentProgress):
        def stage(self, text: str) -> None:
            if text == step:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(checkpoint, tmp_path / "out", source="x", progress=Interrupting())
    assert os.listdir(tmp_path) == []


def test_a_part_outside_its_tolerance_is_no_export(tmp_path: Path):
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe)
    strict = recipe.tolerances | {"audio": Tolerance(max_abs=0.0, cosine=1.0)}
    with pytest.raises(CheckFailedError, match="audio, .*: expected at most 0 from PyTorch .*nothing was written"):
        export_checkpoint(
            new_checkpoint(msgspec.structs.replace(recipe, tolerances=strict)), tmp_path / "out", source="x"
        )
    assert os.listdir(tmp_path) == []


def test_golden_feeds_need_a_face_a_voice_and_words(checkpoint: Checkpoint, tmp_path: Path, demo_vtt: Path):
    from tests.media import tone, write_media

    wall = write_media(tmp_path / "wall.mp4", frame_times_s=[i / 25 for i in range(50)], samples=tone(2.0))
    with pytest.raises(InputError, match="found no face"):
        export_checkpoint(checkpoint, tmp_path / "out", source="x", clip=(wall, demo_vtt))
    assert sorted(os.listdir(tmp_path)) == ["wall.mp4"]


def test_seams_are_what_every_backend_is_fed(tiny: Bundle):
    dtypes = {tensor.name: tensor.dtype for part in tiny.manifest.parts.values() for tensor in part.inputs}
    assert dtypes["pixels"] == "uint8"
    assert dtypes["ids"] == dtypes["mask"] == dtypes["text_mask"] == "int32"
    assert dtypes["samples"] == dtypes["vision"] == "float32"


@pytest.mark.parametrize(
    "kind",
    [
        name if at == 0 else pytest.param(name, marks=pytest.mark.nightly)
        for at, name in enumerate(sorted(PUBLISHED_HEADS))
    ],
)
def test_a_head_after_another_paper_is_exported_checked_and_run_as_taemi_is(
    kind: str, tmp_path: Path, cli, demo_video: Path, demo_vtt: Path
):
    fresh = new_checkpoint(load_recipe("export", "taemi-tiny", ModelRecipe, {"fusion.kind": kind}))
    save_checkpoint(fresh, tmp_path / "checkpoint")
    bundle, report = export_checkpoint(load_checkpoint(tmp_path / "checkpoint"), tmp_path / "bundle", source=kind)
    assert report.ok
    assert bundle.manifest.head.order_matters == (kind in ("speech-lstm", "tcn-bilstm"))
    assert {m: spec.missing.steps for m, spec in bundle.manifest.streams.items()} == fresh.model.fusion.token_steps
    check_graphs(bundle)
    lines = tmp_path / "lines.jsonl"
    words = (bundle.folder, demo_video, "--transcript", demo_vtt, "--drop", "audio@2-6", "--output", lines)
    done = cli("run", *words)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {line["presence"]["audio"] for line in found} >= {"live", "missing"}
    assert len({line["intensities"]["joy"] for line in found}) > 5
