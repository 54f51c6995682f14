"""Training runs: from a store or a corpus to a checkpoint that exports, interrupted, resumed and broken."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")


from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.errors import CheckpointError, StoreError, TrainingError, UsageError
from taemi_edge.taemi.checkpoint import load_checkpoint
from taemi_edge.taemi.exporting import export_checkpoint
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.train.run import METRICS, STATE, TrainOptions, train_recipe
from tests.corpora.stores import write_older


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------------------- tokens


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
    """The clips of a store that have every modality, in a store of schema 1, whose index has them all."""
    write_older(source, target)
    index = json.loads((target / "index.json").read_text())
    index["clips"] = {i: c for i, c in index["clips"].items() if all(c["steps"].values())}
    (target / "index.json").write_text(json.dumps(index))


def test_a_corpus_is_extracted_first(corpus_folder, tmp_path):
    result = train_recipe(tiny_recipe(), options(tmp_path, corpus_folder, workers=1))
    assert result.trained_on == "10 clips of the synthetic corpus of seed 3 (14 clips)"
    assert (tmp_path / "run" / "store" / "index.json").is_file()


@pytest.mark.nightly
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


@pytest.mark.nightly
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


def test_a_wrong_key_is_named_with_the_nearest_known_one(store_folder, cli_here, tmp_path):
    done = cli_here("train", "taemi-tiny", "--data", store_folder, "-o", tmp_path / "c", "--set", "training.epoch=3")
    assert done.returncode == 2
    assert "unknown field `epoch`" in done.stderr
    assert "did you mean `epochs`?" in done.stderr
    for wrong in ("training.epochs=many", "training.epochs=0", "training", "name.x=1", "fusion.dropout=2"):
        assert (
            cli_here("train", "taemi-tiny", "--data", store_folder, "-o", tmp_path / "c", "--set", wrong).returncode
            == 2
        )


@pytest.mark.nightly
def test_tensorboard_events_are_written_where_it_is_installed(store_folder, cli, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard`")
    words = ("train", "taemi-tiny", "--data", store_folder, "-o", tmp_path / "c", "--run", tmp_path / "r")
    done = cli(*words, "--epochs", "1", "--tensorboard", tmp_path / "events")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))


def test_words_are_learned_from_the_training_clips_alone(corpus_folder, store_folder, tmp_path):
    from taemi_edge.taemi.train.run import untrained_checkpoint
    from taemi_edge.taemi.train.words import learn_words

    changes = {"text.tokenizer": "words", "text.encoder.config.vocab_size": "40"}
    checkpoint = untrained_checkpoint(tiny_recipe(**changes))
    learn_words(checkpoint, corpus_folder)
    vocabulary = json.loads(checkpoint.tokenizer_json)["model"]["vocab"]
    assert list(vocabulary)[:4] == ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    assert len(vocabulary) == 40
    first = checkpoint.tokenizer_json
    learn_words(checkpoint, corpus_folder)
    assert checkpoint.tokenizer_json == first
    with pytest.raises(UsageError, match="tokenizer = 'words' is learned from clips: give a corpus"):
        learn_words(checkpoint, store_folder)


def test_a_vocabulary_of_words_fits_the_encoder_also_before_it_is_learned(corpus_folder):
    """No recipe has to say how many embeddings there are: a default, or pretrained weights, may say it."""
    from taemi_edge.taemi.train.run import untrained_checkpoint
    from taemi_edge.taemi.train.words import learn_words

    recipe = tiny_recipe(**{"text.tokenizer": "words", "text.encoder.config.vocab_size": "30"})
    checkpoint = untrained_checkpoint(recipe)
    assert len(json.loads(checkpoint.tokenizer_json)["model"]["vocab"]) == 4
    config = {key: value for key, value in recipe.text.encoder.config.items() if key != "vocab_size"}
    encoder = msgspec.structs.replace(recipe.text.encoder, config=config)
    checkpoint = untrained_checkpoint(
        msgspec.structs.replace(recipe, text=msgspec.structs.replace(recipe.text, encoder=encoder))
    )
    learn_words(checkpoint, corpus_folder)
    assert len(json.loads(checkpoint.tokenizer_json)["model"]["vocab"]) > 40


@pytest.mark.nightly
def test_the_model_that_ships_is_trained_alike_twice(corpus_folder, tmp_path):
    recipe = load_recipe("export", "taemi-nano", ModelRecipe, {"training.epochs": "1", "training.batch_size": "5"})
    weights = []
    for name in ("a", "b"):
        train_recipe(recipe, TrainOptions(data=corpus_folder, output=tmp_path / name, run=tmp_path / f"run-{name}"))
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert load_checkpoint(tmp_path / "a").tokenizer_json == load_checkpoint(tmp_path / "b").tokenizer_json
