"""Sweeps: every setting of a plan is trained with every seed, and the folder says which one is best.

Runs that are done are kept, whatever ends the sweep: the next call makes only those that lack. A run that was stopped
goes on from its last state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import torch

from taemi_edge.bundle.atomic import claimed, replace_link
from taemi_edge.bundle.drafts import hold_draft
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.signals import StopRequest, request_on_signals
from taemi_edge.bundle.workers import WorkerPool, require_shared, run_parallel
from taemi_edge.corpora.feature_store import is_store, open_store, read_index
from taemi_edge.corpora.opening import open_folder
from taemi_edge.corpora.remote_address import parse_place
from taemi_edge.corpora.store_index import INDEX
from taemi_edge.corpora.store_lock import hold_store
from taemi_edge.corpora.store_place import open_place
from taemi_edge.errors import InputError, InterruptedRunError, MissingExtraError, OutputError, TrainingError, UsageError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.sweep.folder import (
    BEST,
    PICTURE,
    RESULTS,
    RUNS,
    STORES,
    TABLE,
    begin_folder,
    count_runs,
    run_folder,
)
from taemi_edge.taemi.sweep.picture import plot_sweep
from taemi_edge.taemi.sweep.plan import Plan, Setting
from taemi_edge.taemi.sweep.report import write_page
from taemi_edge.taemi.sweep.results import Sweep, best_run, rank_rows
from taemi_edge.taemi.sweep.runs import (
    CHECKPOINT,
    RUN,
    Failed,
    RunLine,
    RunSetup,
    RunTask,
    Stopped,
    features_key,
    open_worker,
    read_run,
    train_run,
)
from taemi_edge.taemi.train.run import STORE, TrainOptions, extracted_store, require_own_features, untrained_checkpoint
from taemi_edge.taemi.vidmimic2 import is_corpus, open_corpus


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep reads, and where and how it runs.

    Attributes:
        data: a feature store, or a corpus, from which stores are made where encoders are frozen; by its path or
            address.
        output: the folder of the sweep; workers elsewhere must see it under the same path.
        workers: processes of one thread each, 0 for as many as there are cores; or a pool elsewhere.
        provided: allow a store of features that came with the data set.
        tensorboard: write events for TensorBoard into each run's folder, where it is installed.
        command: how the sweep was asked for, to quote on its page.
    """

    data: Path | str
    output: Path
    workers: int | WorkerPool = 0
    provided: bool = False
    tensorboard: bool = False
    command: str = ""


def run_sweep(
    plan: Plan,
    options: SweepOptions,
    *,
    progress: Progress = SILENT,
    on_run: Callable[[RunLine, Path], None] = lambda _line, _folder: None,
) -> Sweep:
    """Train what a plan asks for and lacks, and compare all of it.

    Args:
        plan: the settings and seeds.
        options: the data, the folder and the workers.
        progress: counts the runs that are done.
        on_run: is called with the line and the folder of each run of the plan: of those that were done before first,
            then of each as it is done.

    Raises:
        InputError: there is no data, or it has no validation split, which chooses.
        UsageError: the folder holds a sweep of another recipe or of other data.
        OutputError: the folder holds something else, another process writes it, or there is no room.
        StoreError: a process of another machine writes the folder, or the store is not of the recipe's encoders.
        BackendError: a worker was killed, or workers elsewhere do not see the data or the folder.
        TrainingError: no run has a value.
        InterruptedRunError: Ctrl-C; runs that are done are kept, and others go on from their last state.
    """
    folder, where = options.output.resolve(), parse_place(options.data)
    data = where.resolve() if isinstance(where, Path) else str(options.data)
    with claimed(folder):
        identity = _require_data(plan, data)
        require_shared(options.workers, [data], [folder])
        # a store of other encoders is refused before the folder says that it is a sweep of that store
        given = _stores(plan, data, folder, options, progress) if is_store(data) else None
        begin_folder(folder, plan.base, str(data if isinstance(data, Path) else where), identity)
        with hold_store(open_place(folder), progress):  # beyond this machine, where the folder is shared
            stores = given or _stores(plan, data, folder, options, progress)
            tasks = _tasks(plan, folder, stores)
            lines = {key: line for key, task in tasks.items() if (line := read_run(task.folder))}
            for key, line in lines.items():
                on_run(line, tasks[key].folder)
            stopped = _train_all(tasks, lines, folder, options, progress, on_run)
            sweep = _result(plan, options, lines, folder)
            _report(sweep, folder, options.command)
    if stopped is not None:
        raise stopped
    if not sweep.trained:
        problems = [text for row in sweep.rows for text in row.problems.values()]
        raise TrainingError(f"none of {len(tasks)} runs has a value; the first says: {problems[0]}")
    return sweep


def _require_data(plan: Plan, data: Path | str) -> str:
    """Check that the data can be trained on and chosen by; gives its sha256."""
    where = parse_place(data)
    if is_store(data):
        if any(setting.recipe.training.encoders == "end-to-end" for setting in plan.settings):
            raise UsageError(f"--data {where}: end-to-end training reads clips: give a corpus, not a feature store")
        store = open_store(data)
        splits, identity = set(store.splits), sha256(store.place.read(INDEX)).hexdigest()
    elif is_corpus(folder := open_folder(data)):
        corpus = open_corpus(folder)
        splits, identity = {clip.split for clip in corpus.clips}, corpus.labels_sha256
    else:
        found = "nothing there" if isinstance(where, Path) and not where.exists() else "neither"
        raise InputError(
            f"--data {where}: expected a feature store (index.json) or a corpus (train_split.csv), found {found}"
        )
    for split, purpose in (("train", "is trained on"), ("valid", "chooses the best setting")):
        if split not in splits:
            known = ", ".join(sorted(splits)) or "none"
            raise InputError(f"--data {where}: expected clips in the split {split!r}, which {purpose}, found {known}")
    return identity


def _stores(
    plan: Plan, data: Path | str, folder: Path, options: SweepOptions, progress: Progress
) -> Mapping[str, tuple[Path | str, int | None]]:
    """What each setting is trained on, and the seed of its frozen encoders; of a corpus, features are extracted once.

    Settings that change how clips are read or encoded need a corpus: each has features of its own.
    """
    by_features: dict[str, Path | str] = {}
    found: dict[str, tuple[Path | str, int | None]] = {}
    for setting in plan.settings:
        frozen = setting.recipe.training.encoders == "frozen"
        encoder_seed = plan.base.seed if frozen else None
        key = features_key(setting.recipe, encoder_seed)
        if key not in by_features:
            by_features[key] = data if not frozen else _store(setting, data, folder / STORES / key, options, progress)
        found[setting.folder] = by_features[key], encoder_seed
    return found


def _store(setting: Setting, data: Path | str, place: Path, options: SweepOptions, progress: Progress) -> Path | str:
    checkpoint = untrained_checkpoint(setting.recipe)
    train = TrainOptions(data, place / CHECKPOINT, place, provided=options.provided, workers=options.workers)
    if is_store(data):
        require_own_features(checkpoint, open_store(data), train)
        return data
    extracted_store(checkpoint, train, progress)
    return train.run / STORE


def _tasks(
    plan: Plan, folder: Path, stores: Mapping[str, tuple[Path | str, int | None]]
) -> dict[tuple[str, int], RunTask]:
    """The runs by setting and seed. Those on the same features stand together, the first seed of each setting first."""
    found = {
        (setting.folder, plan.base.seed + at): RunTask(
            setting.folder,
            setting.values,
            msgspec.structs.replace(setting.recipe, seed=plan.base.seed + at),
            stores[setting.folder][1],
            stores[setting.folder][0],
            run_folder(folder, setting.folder, plan.base.seed + at),
        )
        for at in range(plan.seeds)
        for setting in plan.settings
    }
    return dict(sorted(found.items(), key=lambda item: str(item[1].data)))  # the order is kept otherwise


def _train_all(
    tasks: Mapping[tuple[str, int], RunTask],
    lines: dict[tuple[str, int], RunLine],
    folder: Path,
    options: SweepOptions,
    progress: Progress,
    on_run: Callable[[RunLine, Path], None],
) -> InterruptedRunError | None:
    """Make the runs that lack, and add their lines; gives the error to end with where the sweep was stopped."""
    lacking = [task for key, task in tasks.items() if key not in lines]
    if not lacking:
        return None
    progress.stage(f"training {len(lacking)} runs of {len(tasks)}")
    done, code = len(lines), 0
    threads = torch.get_num_threads()
    with request_on_signals() as stop, _mark(folder, stop) as mark:
        setup = RunSetup(mark, options.tensorboard, options.provided)
        try:
            for result in run_parallel(train_run, _until(stop, lacking), options.workers, open_worker, (setup,)):
                if isinstance(result, Failed):
                    mark.unlink(missing_ok=True)
                    raise OutputError(result.text)
                if isinstance(result, Stopped):
                    stop.set()
                    code = result.exit_code
                    continue
                lines[result.setting, result.seed] = result
                done += 1
                progress.count(done, len(tasks), "training runs")
                on_run(result, tasks[result.setting, result.seed].folder)
        finally:
            torch.set_num_threads(threads)
        if not stop.is_set() or done == len(tasks):
            return None
        error = InterruptedRunError(
            f"stopped with {done} of {len(tasks)} runs done, which {options.output} keeps: the same command goes on"
        )
        error.exit_code = code or 128 + stop.number
        return error


@contextmanager
def _mark(folder: Path, stop: StopRequest) -> Iterator[Path]:
    """Give a file that workers look for, wherever they run: it is there until the sweep stops."""
    over = threading.Event()
    with hold_draft(folder / "running") as mark:
        mark.touch()

        def watch() -> None:
            while not over.wait(0.1):
                if stop.is_set():
                    with suppress(OSError):
                        mark.unlink(missing_ok=True)
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield mark
        finally:
            over.set()
            watcher.join()


def _until(stop: StopRequest, tasks: list[RunTask]) -> Iterator[RunTask]:
    for task in tasks:
        if stop.is_set():
            return
        yield task


def _result(plan: Plan, options: SweepOptions, lines: Mapping[tuple[str, int], RunLine], folder: Path) -> Sweep:
    seeds = tuple(plan.base.seed + at for at in range(plan.seeds))
    settings = [(setting.values, setting.folder) for setting in plan.settings]
    rows = rank_rows(settings, lines, seeds)
    return Sweep(
        recipe=plan.base.name,
        data=_described(options.data),
        metric="mean_pearson",
        varied=plan.varied,
        logarithmic=tuple(axis.key for axis in plan.axes if axis.log),
        seeds=seeds,
        rows=rows,
        best=best_run(rows, seeds, f"{RUNS}/{{folder}}/seed-{{seed}}/{CHECKPOINT}"),
        lacking=len(settings) * len(seeds) - len(lines),
        left_out=plan.left_out,
        elsewhere=count_runs(folder) - sum((run_folder(folder, *key) / RUN).is_file() for key in lines),
    )


def _report(sweep: Sweep, folder: Path, command: str) -> None:
    """Write what was found so far. The checkpoint that is kept changes once all runs are done."""
    write_json(folder / RESULTS, sweep)
    picture: Path | None = None
    if sweep.trained:
        with suppress(MissingExtraError):  # without matplotlib, the page has every figure
            plot_sweep(sweep, folder / PICTURE)
            picture = folder / PICTURE
    write_page(sweep, folder / TABLE, command, picture)
    if sweep.best and not sweep.lacking:
        replace_link(folder / BEST, sweep.best.checkpoint)


def _described(data: Path | str) -> str:
    return read_index(data).corpus if is_store(data) else open_corpus(open_folder(data)).name
