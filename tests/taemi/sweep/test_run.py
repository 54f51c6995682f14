"""Sweeps on a small store: what is trained, kept, gone on with and refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.corpora.store_lock import LOCK, LockHolder
from taemi_edge.errors import InputError, InterruptedRunError, OutputError, StoreError, TrainingError, UsageError
from taemi_edge.taemi.checkpoint import load_checkpoint
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.sweep.axes import read_axis
from taemi_edge.taemi.sweep.plan import Plan, plan_sweep
from taemi_edge.taemi.sweep.results import Sweep
from taemi_edge.taemi.sweep.run import SweepOptions, run_sweep
from taemi_edge.taemi.train.run import TrainOptions, train_recipe

CHANGES = ("fusion.dim=16,32", "training.epochs=2")


def plan_of(*changes: str, **more: object) -> Plan:
    return plan_sweep("taemi-tiny", [read_axis(*text.split("=", 1)) for text in changes], **more)


def files_of(folder: Path) -> dict[str, bytes]:
    """What a sweep writes and what no clock changes, by name."""
    names = ("model.safetensors", "recipe.json", "state.json", "results.json")
    return {str(file.relative_to(folder)): file.read_bytes() for name in names for file in folder.rglob(name)}


@pytest.fixture(scope="module")
def swept(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep]:
    folder = tmp_path_factory.mktemp("sweep") / "out"
    return folder, run_sweep(plan_of(*CHANGES, seeds=2), SweepOptions(store_folder, folder, workers=1))


def test_every_run_is_a_checkpoint_and_the_best_is_one_to_export(swept):
    folder, sweep = swept
    assert sweep.trained == 4
    assert [row.valid.seeds for row in sweep.rows] == [2, 2]
    assert sweep.rows[0].valid.mean >= sweep.rows[1].valid.mean
    best = load_checkpoint(folder / "best")
    assert best.state.trained
    assert best.recipe.fusion.dim == sweep.best.values["fusion.dim"]
    assert best.recipe.seed == sweep.best.seed
    assert os.readlink(folder / "best") == sweep.best.checkpoint
    runs = sorted(folder.glob("runs/*/*"))
    assert len(runs) == 4
    assert {file.name for file in runs[0].iterdir()} >= {"checkpoint", "metrics.jsonl", "run.json"}
    assert not list(folder.rglob("state.safetensors"))  # of a run that is done nobody goes on
    assert json.loads((folder / "results.json").read_text())["best"]["seed"] == sweep.best.seed
    assert (folder / "table.md").is_file()
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []


class InTurn:
    """A pool elsewhere, as a cluster is: here a function that runs in this process, on tasks in another order."""

    on_this_machine = True

    def require_shared(self, reads=(), writes=()):
        self.asked = [*reads], [*writes]

    def run(self, function, tasks, initialise=None, arguments=()):
        return run_parallel(function, reversed(list(tasks)), 1, initialise, arguments)


def test_a_pool_of_workers_elsewhere_writes_the_same_bytes(swept, store_folder, tmp_path):
    pool = InTurn()
    run_sweep(plan_of(*CHANGES, seeds=2), SweepOptions(store_folder, tmp_path / "out", workers=pool))
    assert files_of(tmp_path / "out") == files_of(swept[0])
    assert pool.asked == ([store_folder.resolve()], [(tmp_path / "out").resolve()])


def test_a_run_is_what_train_makes_of_the_same_recipe_and_seed(swept, store_folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        recipe = load_recipe("export", "taemi-tiny", ModelRecipe, {"fusion.dim": "32", "training.epochs": "2"})
        train_recipe(recipe, TrainOptions(store_folder, tmp_path / "ck", tmp_path / "run"))
    finally:
        torch.set_num_threads(threads)
    (of_sweep,) = swept[0].glob("runs/dim=32*/seed-0/checkpoint/model.safetensors")
    assert of_sweep.read_bytes() == (tmp_path / "ck" / "model.safetensors").read_bytes()


def test_what_is_done_is_kept_and_a_larger_grid_adds_runs(swept, store_folder, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(swept[0], folder, symlinks=True)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("run.json")}
    told: list[str] = []
    plan = plan_of("training.epochs=2", "fusion.dim=8,16,32", seeds=2)
    larger = run_sweep(
        plan, SweepOptions(store_folder, folder, workers=1), on_run=lambda line, _: told.append(line.setting)
    )
    assert larger.trained == 6
    assert len(told) == 6
    assert {file: file.stat().st_mtime_ns for file in before} == before
    smaller = run_sweep(plan_of("training.epochs=2", "fusion.dim=8"), SweepOptions(store_folder, folder, workers=1))
    assert (smaller.trained, smaller.elsewhere) == (1, 5)


def test_the_fields_of_another_sweep_are_refused(swept, store_folder, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(swept[0], folder, symlinks=True)
    record = json.loads((folder / "sweep.json").read_text())
    options = SweepOptions(store_folder, folder, workers=1)
    for changed, message in (
        ({"data_sha256": "0" * 64, "data": "/another/store"}, r"other data \(/another/store\)"),
        ({"recipe": {**record["recipe"], "seed": 5}}, r"another recipe \(it differs in seed\)"),
        ({"schema": 9}, "expected schema 1, got 9"),
        ({"recipe": {}}, "expected the record of a sweep"),
    ):
        (folder / "sweep.json").write_text(json.dumps({**record, **changed}))
        with pytest.raises((UsageError, InputError), match=message):
            run_sweep(plan_of(*CHANGES), options)


def test_a_place_that_holds_something_else_is_refused(store_folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"holds other files \(thesis.tex\) and no sweep"):
        run_sweep(plan_of(), SweepOptions(store_folder, tmp_path / "out"))
    with pytest.raises(OutputError, match="expected a folder for the sweep, got a file"):
        run_sweep(plan_of(), SweepOptions(store_folder, tmp_path / "out" / "thesis.tex"))


def test_data_that_cannot_choose_is_refused(store_folder, tmp_path):
    (tmp_path / "store").mkdir()
    for file in store_folder.iterdir():
        shutil.copyfile(file, tmp_path / "store" / file.name)
    index = json.loads((store_folder / "index.json").read_text())
    for shard in index["shards"]:
        shard["splits"]["test"] += shard["splits"].pop("valid")
    (tmp_path / "store" / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="split 'valid', which chooses the best setting, found test, train"):
        run_sweep(plan_of(), SweepOptions(tmp_path / "store", tmp_path / "out"))
    with pytest.raises(InputError, match="found nothing there"):
        run_sweep(plan_of(), SweepOptions(tmp_path / "nowhere", tmp_path / "out"))
    with pytest.raises(UsageError, match="a sweep reads from a folder: copy the data to one, or mount it"):
        run_sweep(plan_of(), SweepOptions(Path("s3://bucket/store"), tmp_path / "out"))
    with pytest.raises(UsageError, match="end-to-end training reads clips: give a corpus"):
        run_sweep(plan_of("training.encoders=end-to-end"), SweepOptions(store_folder, tmp_path / "out"))
    with pytest.raises(StoreError, match="another encoder or chunking"):
        run_sweep(plan_of("audio.context_s=0.5,0.0"), SweepOptions(store_folder, tmp_path / "out"))
    assert not list((tmp_path / "out").glob("runs/*"))


def test_a_run_that_diverges_is_a_problem_and_the_others_go_on(store_folder, tmp_path):
    plan = plan_of("training.learning_rate=1e-3,1e30", "training.epochs=3")
    sweep = run_sweep(plan, SweepOptions(store_folder, tmp_path / "out", workers=1))
    assert [row.valid.seeds for row in sweep.rows] == [1, 0]
    assert "expected a loss that is a number" in sweep.rows[1].problems["0"]
    assert sweep.best.values["training.learning_rate"] == 1e-3
    assert "expected a loss that is a number" in (tmp_path / "out" / "table.md").read_text()
    with pytest.raises(TrainingError, match="none of 1 runs has a value; the first says: step"):
        run_sweep(
            plan_of("training.learning_rate=1e30", "training.epochs=3"),
            SweepOptions(store_folder, tmp_path / "out", workers=1),
        )


@pytest.mark.once
def test_ctrl_c_between_and_within_runs_loses_nothing(swept, store_folder, tmp_path):
    folder = tmp_path / "out"
    slow = plan_of("fusion.dim=16,32", "training.epochs=150")
    timers: list[threading.Timer] = []

    def stop_soon(_line: object, _folder: Path) -> None:
        timers.append(threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)))
        timers[-1].start()

    with pytest.raises(InterruptedRunError, match="stopped with 1 of 2 runs done, which .* keeps") as stopped:
        run_sweep(slow, SweepOptions(store_folder, folder, workers=1), on_run=stop_soon)
    assert stopped.value.exit_code == 130
    timers[0].join()
    assert len(list(folder.rglob("run.json"))) == 1
    assert len(list(folder.rglob("state.safetensors"))) == 1
    assert "1 of 2 runs are done" in (folder / "table.md").read_text()
    assert not (folder / "best").exists()
    run_sweep(slow, SweepOptions(store_folder, folder, workers=1))
    run_sweep(slow, SweepOptions(store_folder, tmp_path / "whole", workers=1))
    assert files_of(folder) == files_of(tmp_path / "whole")


@pytest.mark.once
def test_a_killed_sweep_is_gone_on_with_by_two_workers_and_writes_the_bytes_of_one(store_folder, tmp_path):
    words = ["sweep", "taemi-tiny", "--data", store_folder, "--set", "training.epochs=1,80,81", "--seeds", "1"]
    words += ["--output", tmp_path / "out", "--workers", "2", "--log", "none"]
    running = subprocess.Popen([sys.executable, "-m", "taemi_edge", *map(str, words)], stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 240
        while not list(tmp_path.rglob("run.json")) and running.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        workers = _children_of(running.pid)
    finally:
        running.kill()
        running.communicate()
    _wait_until_ended(workers)
    lines = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("run.json")}
    assert lines
    plan = plan_of("training.epochs=1,80,81")
    sweep = run_sweep(plan, SweepOptions(store_folder, tmp_path / "out", workers=2))
    assert sweep.trained == 3
    assert {file: file.stat().st_mtime_ns for file in lines} == lines
    run_sweep(plan, SweepOptions(store_folder, tmp_path / "whole", workers=1))
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def _children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _wait_until_ended(pids: list[str]) -> None:
    """The workers of a killed sweep look for their parent twice a second."""
    until = time.monotonic() + 60
    while any(_runs(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_sweep_of_the_same_folder_is_refused(store_folder, tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom taemi_edge.bundle.atomic import claimed\n"
        f"with claimed(Path({str(tmp_path / 'out')!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"process {other.pid} is writing it"):
            run_sweep(plan_of(), SweepOptions(store_folder, tmp_path / "out", workers=1))
    finally:
        other.communicate("")


def test_a_sweep_that_another_machine_writes_is_refused(swept, store_folder, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(swept[0], folder, symlinks=True)
    other = LockHolder(id="1", host="gpu-3", machine="m", process=77, started=1, beat=4, time_s=time.time())
    (folder / LOCK).write_bytes(msgspec.json.encode(other))
    with pytest.raises(StoreError, match="process 77 on gpu-3 is writing it: wait until it is done"):
        run_sweep(plan_of(*CHANGES), SweepOptions(store_folder, folder, workers=1))


def test_a_corpus_is_extracted_once_for_each_way_of_reading_it(corpus_folder, tmp_path):
    plan = plan_of("training.epochs=1", "audio.context_s=0.5,0.0", "audio.presence.stale_after_s=1.0,1.2")
    sweep = run_sweep(plan, SweepOptions(corpus_folder, tmp_path / "out", workers=1))
    assert sweep.trained == 4
    assert len(list((tmp_path / "out" / "stores").glob("*/store/index.json"))) == 2
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("index.json")}
    run_sweep(plan, SweepOptions(corpus_folder, tmp_path / "out", workers=1))
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


@pytest.mark.nightly
def test_encoders_are_trained_too(corpus_folder, tmp_path):
    plan = plan_of("training.encoders=end-to-end,frozen", "training.epochs=1", "training.batch_size=5")
    sweep = run_sweep(plan, SweepOptions(corpus_folder, tmp_path / "out", workers=1))
    assert sweep.trained == 2


@pytest.mark.nightly
def test_a_ray_cluster_writes_the_same_bytes(swept, store_folder, tmp_path):
    pytest.importorskip("ray", reason="clusters need the extra `ray`")
    from taemi_edge.scale.ray_workers import RayWorkers

    with RayWorkers("local", 2) as workers:
        run_sweep(plan_of(*CHANGES, seeds=2), SweepOptions(store_folder, tmp_path / "out", workers=workers))
    assert files_of(tmp_path / "out") == files_of(swept[0])
