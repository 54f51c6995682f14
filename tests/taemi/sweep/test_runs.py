"""One run in a worker: what it does when its folder, its data or the disk are not as they should be."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.sweep import runs
from taemi_edge.taemi.sweep.runs import (
    Failed,
    RunSetup,
    RunTask,
    Stopped,
    features_key,
    open_worker,
    read_run,
    train_run,
)


@pytest.fixture
def task(store_folder: Path, tmp_path: Path) -> RunTask:
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe, {"training.epochs": "1"})
    (tmp_path / "mark").touch()
    open_worker(RunSetup(tmp_path / "mark"))
    return RunTask("one", {"training.epochs": 1}, recipe, 0, store_folder, tmp_path / "run")


def test_a_run_writes_its_line_last_and_leaves_no_state(task):
    line = train_run(task)
    assert line == read_run(task.folder)
    assert line.valid is not None
    assert line.test is not None
    assert not (task.folder / "state.safetensors").exists()


def test_a_run_whose_worker_was_lost_before_it_answered_is_not_made_again(task, monkeypatch):
    line = train_run(task)
    monkeypatch.setattr(runs, "train_recipe", None)
    assert train_run(task) == line


def test_a_folder_that_a_kill_left_is_made_anew(task):
    task.folder.mkdir()
    (task.folder / "state.safetensors").write_bytes(b"not a state")
    (task.folder / "run.json").write_bytes(b"{")
    (task.folder / "checkpoint").mkdir()
    assert train_run(task).valid is not None


def test_a_run_of_a_sweep_that_stops_is_not_begun(task, tmp_path):
    (tmp_path / "mark").unlink()
    assert train_run(task) == Stopped()
    assert not task.folder.exists()


def test_a_run_stops_within_when_the_sweep_does(task, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_ASK_EVERY_S", 0.0)
    longer = msgspec.structs.replace(task.recipe, training=msgspec.structs.replace(task.recipe.training, epochs=50))
    answers = iter([True, True])  # when it begins and after the first step; then the mark is gone

    def goes_on() -> bool:
        return next(answers, False)

    monkeypatch.setattr(runs, "_goes_on", goes_on)
    assert train_run(replace(task, recipe=longer)) == Stopped()
    assert (task.folder / "state.safetensors").is_file()
    assert read_run(task.folder) is None


def test_data_that_is_gone_is_a_problem_of_this_time(task, tmp_path):
    line = train_run(replace(task, data=tmp_path / "gone"))
    assert "found nothing there" in line.problem
    assert line.again
    assert read_run(task.folder) is None


def test_a_full_disk_is_told_and_not_taken_for_a_result(task, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "_write_events", full)
    assert train_run(task) == Failed(text=f"{task.folder}: no space left on the device: free some, or write elsewhere")


@pytest.mark.parametrize(
    ("key", "text", "same"),
    [
        ("fusion.dim", "32", True),
        ("training.epochs", "7", True),
        ("vision.presence.stale_after_s", "0.4", True),
        ("tolerances.fusion.max_abs", "1.0", True),
        ("audio.context_s", "0.0", False),
        ("text.max_tokens", "8", False),
        ("vision.encoder.config.hidden_size", "32", False),
        ("training.encoders", "end-to-end", False),
    ],
)
def test_settings_share_features_where_clips_are_read_and_encoded_alike(key, text, same):
    plain, changed = (load_recipe("export", "taemi-tiny", ModelRecipe, more) for more in ({}, {key: text}))
    assert (features_key(plain, 0) == features_key(changed, 0)) is same


def test_events_hold_the_figures_of_a_run(task, tmp_path):
    pytest.importorskip("tensorboard", reason="events need the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    open_worker(RunSetup(tmp_path / "mark", tensorboard=True))
    line = train_run(task)
    events = EventAccumulator(str(task.folder / "events"))
    events.Reload()
    assert {"loss", "valid/mean_pearson", "final/valid_mean_pearson"} <= set(events.Tags()["scalars"])
    assert events.Scalars("final/valid_mean_pearson")[0].value == pytest.approx(line.valid)
