"""Features that lie in a bucket train what the same features on this machine do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.taemi.ablation import AblationSetting, find_variants, make_setting, run_ablation
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.sweep.axes import read_axis
from taemi_edge.taemi.sweep.plan import plan_sweep
from taemi_edge.taemi.sweep.run import SweepOptions, run_sweep
from taemi_edge.taemi.train.run import TrainOptions, train_recipe
from tests.corpora.s3_server import ENVIRONMENT, S3Server, environment, s3_server

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def server(store_folder: Path) -> Iterator[S3Server]:
    with s3_server() as running, environment(**ENVIRONMENT):
        running.upload(store_folder, "store")
        yield running


@pytest.fixture(scope="module")
def uri(server: S3Server) -> str:
    return server.uri("store")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is downloaded."""
    counts, fetch = Counter[str](), RemotePlace.fetch

    def told(place: RemotePlace, name: str, folder: Path) -> Path:
        counts[name] += 1
        return fetch(place, name, folder)

    monkeypatch.setattr(RemotePlace, "fetch", told)
    return counts


def test_a_model_is_trained_on_a_store_in_a_bucket(uri: str, store_folder: Path, tmp_path: Path):
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe, {"training.epochs": "1"})
    for name, data in (("here", store_folder), ("there", uri)):
        train_recipe(recipe, TrainOptions(data, tmp_path / name, tmp_path / f"{name} run"))
    here, there = (tmp_path / name / "model.safetensors" for name in ("here", "there"))
    assert there.read_bytes() == here.read_bytes()


def test_an_ablation_reads_a_store_in_a_bucket_once_in_each_worker(uri: str, store_folder: Path, fetched: Counter[str]):
    def ablated(data: Path | str, seeds: int) -> object:
        setting = make_setting("taemi-tiny", data, quick=False)
        training = msgspec.structs.replace(setting.training, epochs=1)
        short = AblationSetting(setting.fusion, training, store=setting.store)
        return run_ablation(short, seeds, find_variants(["full", "concat"], short), workers=1).rows

    there = ablated(uri, 2)
    assert max(fetched.values()) <= 3  # of each split once
    assert repr(there) == repr(ablated(store_folder, 2))  # an undefined figure is NaN


def test_a_sweep_over_a_store_in_a_bucket_is_that_over_the_same_here(uri: str, store_folder: Path, tmp_path: Path):
    plan = plan_sweep("taemi-tiny", [read_axis("fusion.dim", "16,32"), read_axis("training.epochs", "1")], seeds=1)
    here, there = (
        run_sweep(plan, SweepOptions(data, tmp_path / name, workers=1))
        for name, data in (("here", store_folder), ("there", uri))
    )
    assert there.rows == here.rows
    assert there.data == here.data
    record = json.loads((tmp_path / "there" / "sweep.json").read_text())
    assert record["data"] == "s3://clips/store"
    written = [file.read_bytes() for file in (tmp_path / "there").rglob("*") if file.suffix in (".json", ".md")]
    assert not [text for text in written if b"endpoint" in text or b"127.0.0.1" in text]
    again = run_sweep(plan, SweepOptions(uri, tmp_path / "there", workers=1))
    assert again.rows == there.rows
