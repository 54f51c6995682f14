"""Training: exact resumption, tokens that learn or say that they did not, losses that are no number, end to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.spec import MODALITIES
from taemi_edge.errors import CheckpointError, StoreError, TrainingError, UsageError
from taemi_edge.taemi.checkpoint import load_checkpoint
from taemi_edge.taemi.exporting import export_checkpoint
from taemi_edge.taemi.network import FusionHead
from taemi_edge.taemi.recipe import FusionRecipe, ModelRecipe, TrainingRecipe
from taemi_edge.taemi.synthetic.features import FEATURE_DIMS, FeatureTask, generate
from taemi_edge.taemi.train.feature_examples import FeatureSet, features_from_arrays
from taemi_edge.taemi.train.run import METRICS, STATE, TrainOptions, train_recipe
from taemi_edge.taemi.train.trainer import Schedule, Trainer, drop_modalities, predict, set_statistics, training_loss

FUSION = FusionRecipe(dim=16, heads=2, hidden_dim=16, modality_dropout=0.15)
TRAINING = TrainingRecipe(epochs=3, batch_size=32, learning_rate=2e-3)


@pytest.fixture(scope="module")
def task():
    return generate(FeatureTask(), 0, 200, 60, 60)


@pytest.fixture(scope="module")
def clean_task():
    return generate(FeatureTask(natural=False), 0, 100, 30, 30)


def trainer(data, fusion: FusionRecipe = FUSION, training: TrainingRecipe = TRAINING, seed: int = 0) -> Trainer:
    head = FusionHead(FEATURE_DIMS, fusion, seed)
    set_statistics(head, data.train)
    return Trainer(head, data.train, data.valid, training, fusion.modality_dropout, seed, "test")


def weights(running: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in running.head.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ----------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize("stop_at", [1, 7, 8, 13])  # 7 steps an epoch
def test_a_resumed_run_gives_the_weights_of_an_uninterrupted_one(task, tmp_path, stop_at: int):
    whole = trainer(task)
    assert whole.run()
    first = trainer(task)
    assert not first.run(lambda running: running.step < stop_at)
    first.save(tmp_path / "state.safetensors")
    torch.manual_seed(99)  # what happens in between does not matter
    second = trainer(task)
    second.load(tmp_path / "state.safetensors")
    assert second.step == stop_at
    assert second.run()
    assert equal(weights(second), weights(whole))
    without_clock = [msgspec.structs.replace(line, seconds=0.0) for line in whole.history]
    assert [msgspec.structs.replace(line, seconds=0.0) for line in second.history] == without_clock
    whole.keep_best()
    second.keep_best()
    assert equal(weights(second), weights(whole))


def test_a_state_of_another_run_is_refused(task, tmp_path):
    running = trainer(task)
    running.run(lambda r: r.step < 2)
    running.save(tmp_path / "s.safetensors")
    other = trainer(task)
    other.identity = "another"
    with pytest.raises(UsageError, match=r"belongs to another run \(test; this one is another\)"):
        other.load(tmp_path / "s.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "s.safetensors").read_bytes()[:100])
    with pytest.raises(UsageError, match="expected the state of a stopped run"):
        trainer(task).load(tmp_path / "torn.safetensors")


def test_seeds_make_runs_and_change_them(task):
    a, b, c = trainer(task), trainer(task), trainer(task, seed=1)
    for running in (a, b, c):
        running.run()
    assert equal(weights(a), weights(b))
    assert not equal(weights(a), weights(c))


def test_a_loss_that_is_no_number_stops_and_keeps_the_best(task):
    running = trainer(task)
    running.run(lambda r: r.step < 8)  # into the second epoch
    best = {k: v.clone() for k, v in running._best.items()}
    running.examples = FeatureSet(running.examples.sequences, torch.full_like(running.examples.labels, torch.nan))
    with pytest.raises(
        TrainingError, match=r"step 9: expected a loss that is a number, got nan.*weights of epoch 1 are kept"
    ):
        running.run()
    assert equal({k: v for k, v in weights(running).items() if k in best}, best)


def test_the_best_epoch_is_kept_or_the_last_one(task):
    running = trainer(task, training=msgspec.structs.replace(TRAINING, epochs=6))
    running.run()
    scores = [line.valid_mean_pearson for line in running.history]
    assert running.best_epoch == 1 + int(np.argmax(scores))
    last = trainer(task, training=msgspec.structs.replace(TRAINING, keep="last"))
    last.run()
    assert last.best_epoch == 3


# ---------------------------------------------------------------------------------------------------- tokens


def test_tokens_learn_where_something_is_missing(task):
    running = trainer(task)
    before = weights(running)
    running.run()
    assert running.untrained_tokens == ()
    for m in MODALITIES:
        assert not torch.equal(running.head.tokens.of(m), before[f"tokens.{m}"])
        assert running.history[-1].token_gradient[m] > 0


def test_tokens_without_a_gradient_are_told(clean_task):
    running = trainer(clean_task, msgspec.structs.replace(FUSION, modality_dropout=0.0))
    running.run()
    assert running.untrained_tokens == MODALITIES
    zeros = trainer(clean_task, msgspec.structs.replace(FUSION, modality_dropout=0.0, missing_tokens=False))
    zeros.run()
    assert zeros.untrained_tokens == ()  # they are zeros on purpose


def test_a_stream_that_training_may_not_see_is_its_token(task):
    running = trainer(task, training=msgspec.structs.replace(TRAINING, modalities=("audio",)))
    running.run()
    only_audio = predict(running.head, task.test, running.recipe)
    assert torch.allclose(only_audio, predict(running.head, task.test.without(("vision", "text"))), atol=1e-6)


@given(
    st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=12),
    st.floats(0.0, 1.0),
    st.integers(0, 1000),
)
def test_modality_dropout_takes_only_what_is_there_and_never_the_last(present, rate: float, seed: int):
    given_ = {m: torch.tensor([row[i] for row in present]) for i, m in enumerate(MODALITIES)}
    kept = drop_modalities(given_, rate, torch.Generator().manual_seed(seed))
    for row in range(len(present)):
        before, after = ({m for m in MODALITIES if x[m][row]} for x in (given_, kept))
        assert after <= before
        assert bool(after) == bool(before)


def test_modality_dropout_drops_at_its_rate():
    everything = {m: torch.ones(20_000, dtype=torch.bool) for m in MODALITIES}
    kept = drop_modalities(everything, 0.3, torch.Generator().manual_seed(0))
    share = float(torch.stack(list(kept.values())).float().mean())
    assert share == pytest.approx(0.7 + 0.3**3 / 3, abs=0.01)  # one is spared where all three were drawn


# ------------------------------------------------------------------------------------------ losses, statistics


@pytest.mark.parametrize("loss", ["mse", "mse+pearson", "mse+ccc", "ccc"])
def test_every_loss_is_least_where_predictions_are_right_and_survives_constants(loss: str):
    labels = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))
    recipe = TrainingRecipe(loss=loss)
    assert float(training_loss(labels.clone(), labels, recipe)) == pytest.approx(0.0, abs=1e-3)
    constant = torch.full_like(labels, 0.4).requires_grad_()
    found = training_loss(constant, labels, recipe)
    found.backward()
    assert float(found.detach()) > 0
    assert torch.isfinite(constant.grad).all()


def test_the_schedule_rises_to_its_peak_and_falls_to_almost_nothing():
    rates = [Schedule(2e-3, 100, 0.3).at(step) for step in range(100)]
    assert max(rates) == rates[30] == 2e-3
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 1e-5


def test_features_are_standardised_by_what_is_there_alone():
    rng = np.random.default_rng(0)
    arrays = {m: [rng.normal(5, 3, (length, 4)).astype(np.float32) for length in (9, 0, 4)] for m in MODALITIES}
    data = features_from_arrays(arrays, np.zeros((3, 6)), dict.fromkeys(MODALITIES, 4))
    head = FusionHead(dict.fromkeys(MODALITIES, 4), FUSION, 0)
    set_statistics(head, data)
    joined = np.concatenate(arrays["audio"])
    assert np.allclose(head.fusion.align["audio"].feature_mean, joined.mean(0), atol=1e-5)
    assert np.allclose(head.fusion.align["audio"].feature_std, joined.std(0), atol=1e-5)
    assert np.allclose(head.tokens.of("audio").detach(), joined.mean(0), atol=0.15)


# ---------------------------------------------------------------------------------------------- from a store


def tiny_recipe(**changes: str) -> ModelRecipe:
    return load_recipe("export", "taemi-tiny", ModelRecipe, {"training.epochs": "2", **changes})


def options(tmp_path: Path, data: Path, **more: object) -> TrainOptions:
    return TrainOptions(data=data, output=tmp_path / "ck", run=tmp_path / "run", **more)


def test_a_store_becomes_a_checkpoint_that_exports(store_folder, tmp_path):
    result = train_recipe(tiny_recipe(), options(tmp_path, store_folder))
    assert len(result.history) == 2
    checkpoint = load_checkpoint(tmp_path / "ck")
    assert checkpoint.state.trained
    assert checkpoint.state.trained_on == "10 clips of the synthetic corpus of seed 3 (14 clips)"
    lines = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "curve.png").stat().st_size > 5000
    bundle, report = export_checkpoint(checkpoint, tmp_path / "bundle", source="ck")
    assert report.ok
    assert bundle.manifest.trained
    assert bundle.manifest.trained_on == checkpoint.state.trained_on


def test_a_store_of_another_model_is_refused(store_folder, tmp_path):
    changed = tiny_recipe(**{"audio.context_s": "0.0"})
    with pytest.raises(StoreError, match=r"audio features of another encoder or chunking than taemi-tiny's"):
        train_recipe(changed, options(tmp_path, store_folder))
    assert not (tmp_path / "ck").exists()


def test_places_that_are_taken_are_never_written_over(store_folder, tmp_path):
    train_recipe(tiny_recipe(), options(tmp_path, store_folder))
    with pytest.raises(UsageError, match="might hold a trained"):
        train_recipe(tiny_recipe(), options(tmp_path, store_folder))
    elsewhere = TrainOptions(data=store_folder, output=tmp_path / "ck2", run=tmp_path / "run")
    with pytest.raises(UsageError, match="holds the state of an earlier run"):
        train_recipe(tiny_recipe(), elsewhere)
    nothing = TrainOptions(data=store_folder, output=tmp_path / "ck2", run=tmp_path / "run2", resume=True)
    with pytest.raises(UsageError, match="expected the state of a stopped run"):
        train_recipe(tiny_recipe(), nothing)


def test_tokens_that_learned_nothing_are_not_exported_unless_told(store_folder, tmp_path):
    recipe = tiny_recipe(**{"fusion.modality_dropout": "0.0", "training.modalities": '["vision", "audio", "text"]'})
    store_with_everything = tmp_path / "store"
    _complete_store(store_folder, store_with_everything)
    result = train_recipe(recipe, options(tmp_path, store_with_everything))
    assert result.untrained_tokens == MODALITIES
    checkpoint = load_checkpoint(tmp_path / "ck")
    with pytest.raises(CheckpointError, match="expected trained tokens, but that of vision and audio and text never"):
        export_checkpoint(checkpoint, tmp_path / "bundle", source="ck")
    export_checkpoint(checkpoint, tmp_path / "bundle", source="ck", untrained_tokens=True)


def _complete_store(source: Path, target: Path) -> None:
    """The clips of a store that have every modality, in a store of their own index."""
    import shutil

    shutil.copytree(source, target)
    index = json.loads((target / "index.json").read_text())
    index["clips"] = {i: c for i, c in index["clips"].items() if all(c["steps"].values())}
    (target / "index.json").write_text(json.dumps(index))


def test_a_corpus_is_extracted_first(corpus_folder, tmp_path):
    result = train_recipe(tiny_recipe(), options(tmp_path, corpus_folder, workers=1))
    assert result.trained_on == "10 clips of the synthetic corpus of seed 3 (14 clips)"
    assert (tmp_path / "run" / "store" / "index.json").is_file()


def test_end_to_end_training_changes_the_encoders(corpus_folder, tmp_path):
    recipe = tiny_recipe(**{"training.encoders": "end-to-end", "training.epochs": "1", "training.batch_size": "5"})
    result = train_recipe(recipe, options(tmp_path, corpus_folder))
    assert result.trained_on.endswith("end to end")
    from taemi_edge.taemi.checkpoint import new_checkpoint

    before = new_checkpoint(tiny_recipe()).model.state_dict()
    after = load_checkpoint(tmp_path / "ck").model.state_dict()
    for part in ("vision.", "audio.", "text.", "fusion."):
        names = [n for n in before if n.startswith(part) and before[n].is_floating_point()]
        assert any(not torch.equal(before[n], after[n]) for n in names), part


def test_clips_that_cannot_be_read_are_left_out_and_told(corpus_folder, tmp_path):
    import shutil

    corpus = Path(shutil.copytree(corpus_folder, tmp_path / "corpus"))
    (corpus / "raw" / "00002.mp4").write_bytes(b"torn")
    stored = train_recipe(tiny_recipe(), options(tmp_path, corpus, workers=1))
    assert list(stored.problems) == ["00002"]
    recipe = tiny_recipe(**{"training.encoders": "end-to-end", "training.epochs": "1", "training.batch_size": "9"})
    live = train_recipe(recipe, TrainOptions(data=corpus, output=tmp_path / "live", run=tmp_path / "live-run"))
    assert list(live.problems) == ["00002"]
    assert live.trained_on.startswith("9 clips")


def test_a_run_that_breaks_keeps_its_best_checkpoint(store_folder, tmp_path, monkeypatch):
    from taemi_edge.taemi.train import trainer as train

    good = train.training_loss

    def broken(predicted, labels, recipe):
        calls.append(1)
        return good(predicted, labels, recipe) * (torch.nan if len(calls) > 2 else 1.0)

    calls: list[int] = []
    monkeypatch.setattr(train, "training_loss", broken)
    with pytest.raises(TrainingError, match="step 3: .*weights of epoch 2 are kept"):
        train_recipe(
            tiny_recipe(**{"training.epochs": "4", "training.keep": '"last"'}), options(tmp_path, store_folder)
        )
    assert load_checkpoint(tmp_path / "ck").state.trained


def test_end_to_end_batches_are_what_a_store_holds(corpus_folder, store_folder):
    from taemi_edge.corpora.extract import Reading
    from taemi_edge.corpora.feature_store import open_store
    from taemi_edge.media.tokens import WordTokenizer
    from taemi_edge.taemi.checkpoint import new_checkpoint
    from taemi_edge.taemi.reference import seams_of
    from taemi_edge.taemi.train.clip_examples import ClipExamples
    from taemi_edge.taemi.train.feature_examples import feature_set
    from taemi_edge.taemi.vidmimic2 import open_corpus

    checkpoint = new_checkpoint(tiny_recipe())
    seams = seams_of(checkpoint)
    tokenizer = WordTokenizer(checkpoint.tokenizer_json, seams.text.max_tokens)
    clips = open_corpus(corpus_folder).split("train")
    examples = ClipExamples(clips, seams.vision, seams.audio, tokenizer, Reading())
    chosen = torch.arange(len(clips))
    with torch.no_grad():
        live = examples.batch(checkpoint.model, chosen)
    stored = feature_set(open_store(store_folder), "train").batch(checkpoint.model, chosen)
    for m in MODALITIES:
        assert torch.equal(live.masks[m] * live.present[m][:, None], stored.masks[m])
        assert torch.equal(live.present[m], stored.present[m])
        assert torch.allclose(live.features[m] * live.masks[m][..., None], stored.features[m], atol=2e-3, rtol=1e-2)


# ------------------------------------------------------------------------------------------- the command line


def test_ctrl_c_saves_and_resume_goes_on_exactly(store_folder, tmp_path):
    base = [sys.executable, "-m", "taemi_edge", "train", "taemi-tiny", "--data", str(store_folder), "--threads", "1"]
    base += ["--epochs", "60", "--set", "training.batch_size=2"]

    def places(name: str) -> list[str]:
        return ["--output", str(tmp_path / name), "--run", str(tmp_path / f"{name}-run")]

    whole = subprocess.run([*base, *places("whole")], capture_output=True, text=True, check=True)
    assert "kept epoch" in whole.stdout
    running = subprocess.Popen([*base, *places("cut")], stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "cut-run" / METRICS
    while not metrics.exists():
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "go on with --resume" in told
    assert "Traceback" not in told
    assert not (tmp_path / "cut").exists()
    assert (tmp_path / "cut-run" / STATE).is_file()
    subprocess.run([*base, *places("cut"), "--resume"], capture_output=True, check=True)
    ours, theirs = (load_checkpoint(tmp_path / name).model.state_dict() for name in ("cut", "whole"))
    assert equal(ours, theirs)


def test_a_wrong_key_is_named_with_the_nearest_known_one(store_folder, cli, tmp_path):
    done = cli("train", "taemi-tiny", "--data", store_folder, "-o", tmp_path / "c", "--set", "training.epoch=3")
    assert done.returncode == 2
    assert "unknown field `epoch`" in done.stderr
    assert "did you mean `epochs`?" in done.stderr
    for wrong in ("training.epochs=many", "training.epochs=0", "training", "name.x=1", "fusion.dropout=2"):
        assert cli("train", "taemi-tiny", "--data", store_folder, "-o", tmp_path / "c", "--set", wrong).returncode == 2


def test_tensorboard_events_are_written_where_it_is_installed(store_folder, cli, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard`")
    words = ("train", "taemi-tiny", "--data", store_folder, "-o", tmp_path / "c", "--run", tmp_path / "r")
    done = cli(*words, "--epochs", "1", "--tensorboard", tmp_path / "events")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))
