"""Parity: what agrees passes, what does not is named by its first part."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import open_bundle, write_manifest
from taemi_edge.bundle.outputs import ClassesSpec
from taemi_edge.bundle.values import Tolerance
from taemi_edge.errors import UsageError
from taemi_edge.parity.comparison import check_parity, check_part, cosine_of, label_flips
from taemi_edge.parity.metrics import pearson_of
from taemi_edge.taemi.names import PATTERN_NAMES


def test_a_bundle_alone_is_held_against_its_golden_outputs(tiny_folder: Path):
    report, pairs = check_parity(str(tiny_folder), threads=1)
    assert report.ok
    assert report.first_failure is None
    assert [stage.stage for stage in report.stages] == ["vision", "audio", "text", "fusion", "end-to-end"]
    fusion = report.stages[3]
    assert len(fusion.cases) == 4 * 8
    patterns = {case.case.rsplit(", ", 1)[1] for case in fusion.cases}
    assert patterns == set(PATTERN_NAMES)
    assert fusion.lowest_pearson is not None
    assert fusion.lowest_pearson > 0.9999
    assert len(pairs.by_stage["fusion"][0]) == 6 * 8 * (1 + 1 + 1 + 4)


@pytest.mark.parametrize(
    ("stage", "spoil"), [("vision", "vision|one frame|out|features"), ("text", "text|longest|out|features")]
)
def test_the_first_part_that_differs_is_named(tiny_folder: Path, tmp_path: Path, stage: str, spoil: str):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "spoilt"))
    with np.load(folder / "golden.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays[spoil] = arrays[spoil] + 0.01
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **arrays)
    write_manifest(folder, open_manifest(folder))
    report, _ = check_parity(str(folder), threads=1)
    assert not report.ok
    assert report.first_failure == stage
    failed = [case.case for case in next(s for s in report.stages if s.stage == stage).cases if not case.ok]
    assert failed == [spoil.split("|")[1]]


def open_manifest(folder: Path):
    from taemi_edge.bundle.folder import read_manifest

    return read_manifest(folder)


def test_a_nan_fails(tiny_folder: Path, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "nan"))
    with np.load(folder / "golden.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["audio|shortest|out|features"][0, 0, 0] = np.nan
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **arrays)
    write_manifest(folder, open_manifest(folder))
    report, _ = check_parity(str(folder), threads=1)
    assert report.first_failure == "audio"


def test_two_bundles_are_compared_with_each_other(tiny_folder: Path, tmp_path: Path):
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    report, _ = check_parity(str(tiny_folder), str(copy), threads=1)
    assert report.ok
    assert report.stages[0].max_abs == 0


def test_figures_on_small_arrays():
    x = np.array([1.0, 2.0, 3.0])
    assert cosine_of(x, 2 * x) == pytest.approx(1.0)
    assert cosine_of(np.zeros(3), np.zeros(3)) == 1.0
    assert cosine_of(np.zeros(3), x) == 0.0
    assert pearson_of(x, -x) == pytest.approx(-1.0)
    assert pearson_of(x, np.ones(3)) is None


def test_checkpoint_against_bundle_and_against_another_seed(tiny_folder: Path, tmp_path: Path):
    pytest.importorskip("torch", reason="a checkpoint is PyTorch's")
    from taemi_edge.bundle.recipe import load_recipe
    from taemi_edge.taemi.checkpoint import new_checkpoint, open_checkpoint, save_checkpoint
    from taemi_edge.taemi.recipe import ModelRecipe

    recipe = load_recipe("export", "taemi-tiny", ModelRecipe)
    save_checkpoint(open_checkpoint("taemi-tiny"), tmp_path / "same")
    save_checkpoint(new_checkpoint(msgspec.structs.replace(recipe, seed=5)), tmp_path / "other")
    assert check_parity(str(tmp_path / "same"), str(tiny_folder), threads=1)[0].ok
    assert check_parity(str(tmp_path / "same"), "taemi-tiny", threads=1)[0].ok
    report, _ = check_parity(str(tiny_folder), str(tmp_path / "other"), threads=1)
    assert report.first_failure == "vision"
    with pytest.raises(UsageError, match="is no bundle, so it has no golden feeds: name a second artefact"):
        check_parity(str(tmp_path / "same"))


def test_two_different_models_are_one_sentence(cli_here, tiny_folder: Path, mobile_folder: Path):
    done = cli_here("parity", tiny_folder, mobile_folder)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "are two different models (size_hw (32, 32) and (224, 224), vision feature_dim 16 and 1280" in last


def test_the_command_prints_writes_and_exits(cli, tiny_folder: Path, tmp_path: Path):
    pytest.importorskip("matplotlib")
    done = cli("parity", tiny_folder, "--json", tmp_path / "p.json", "--plot", tmp_path / "p.png", "--threads", 1)
    assert (done.returncode, "end-to-end" in done.stdout) == (0, True)
    report = json.loads((tmp_path / "p.json").read_text())
    assert report["ok"] is True
    assert report["stages"][3]["tolerance"]["pearson"] == 0.9999
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_the_command_exits_1_outside_and_2_on_wrong_use(cli_here, tiny_folder: Path, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "strict"))
    manifest = open_bundle(folder).manifest
    strict = msgspec.structs.replace(manifest.tolerances["fusion"], max_abs=0.0)
    tolerances = manifest.tolerances | {"fusion": strict}
    write_manifest(folder, msgspec.structs.replace(manifest, tolerances=tolerances))
    outside = cli_here("parity", folder)
    assert outside.returncode == 1
    assert "fusion left its tolerance first" in outside.stderr
    wrong = cli_here("parity", tiny_folder, "--plot", tmp_path / "p.doc")
    assert (wrong.returncode, "expected a file that ends in .png" in wrong.stderr) == (2, True)
    nothing = cli_here("parity", tmp_path / "nothing")
    assert nothing.returncode == 2
    assert nothing.stderr.splitlines()[-1].endswith("found nothing there")


def test_label_flips_count_rows_whose_best_class_differs():
    doors = ClassesSpec(names=("open", "shut"))
    ours, theirs = np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([[2.0, 1.9], [3.0, 0.0]])
    assert label_flips(ours, theirs, doors) == 0.5
    tags = ClassesSpec(names=("wind", "rain"), exclusive=False)  # present from a logit of 0 on
    assert label_flips(np.array([[1.0, 1.0]]), np.array([[1.0, -1.0]]), tags) == 1.0
    assert label_flips(np.array([[1.0, 1.0]]), np.array([[2.0, 0.1]]), tags) == 0.0


def test_every_output_of_a_model_is_compared_and_flips_have_a_tolerance(monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    from taemi_edge.parity import comparison
    from tests.parity.toy_model import toy_artefact

    honest = toy_artefact("toy")

    def other(part, feeds):
        outputs = honest.run(part, feeds)
        if part == "fusion":
            outputs = {**outputs, "door": outputs["door"][:, ::-1].copy()}
        return outputs

    strict = {name: Tolerance(max_abs=9, cosine=-1, flips=0.0) for name in honest.tolerances}
    sides = {
        "same": replace(honest, name="same", tolerances=strict),
        "turned": replace(honest, name="turned", run=other, tolerances=strict),
    }
    monkeypatch.setattr(comparison, "open_artefact", lambda source, *_: contextlib.nullcontext(sides[source]))
    same, _ = check_parity("same", "same")
    assert same.ok
    assert [stage.stage for stage in same.stages][-2:] == ["fusion", "end-to-end"]
    assert same.stages[-1].flips == {"door": 0.0}
    assert set(same.stages[-1].pearson) == {"mood.valence", "mood.arousal"}
    assert {case.case.rpartition(": ")[2] for case in same.stages[-1].cases} == {"mood", "door"}
    turned, _ = check_parity("same", "turned")
    assert turned.first_failure == "fusion"
    assert turned.stages[-1].most_flips > 0.4  # where "shut", in the middle, is best, it stays so


def test_labels_that_differ_without_any_stream_do_not_count():
    """A prior is often nearly a tie, and the smallest error turns it; the errors themselves count in every pattern."""
    from tests.parity.toy_model import TOKENS, toy_artefact

    honest = toy_artefact("toy")

    def other_prior(feeds):
        outputs = honest.run("fusion", feeds)
        if all(np.allclose(feeds[name], token[0]) for name, token in TOKENS.items()):
            return {**outputs, "door": -outputs["door"]}
        return outputs

    cases = [case for case in honest.cases() if case.part == "fusion"]
    limit = Tolerance(max_abs=0.01, cosine=-1, flips=0.0)
    found = check_part(other_prior, "fusion", cases, TOKENS, limit, honest)
    wrong = {case.case.partition(": ")[0].rpartition(", ")[2] for case in found.cases if not case.ok}
    assert found.flips == {"door": 0.0}
    assert wrong == {"none"}
    assert not found.ok
