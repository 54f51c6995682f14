"""One run of a sweep, in a worker: it trains a setting with a seed, writes its folder, and gives back a line.

DIR/runs/SETTING/seed-N/
  run.json            the line; it is written last, so that a folder without it is gone on with
  checkpoint/         the trained model
  metrics.jsonl       the metrics of every epoch
  curve.png           loss and mean Pearson over the epochs
  events/             the same for TensorBoard, where it is asked for
  state.safetensors   while the run is not done: what it goes on from
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import torch

from taemi_edge.bundle.atomic import write_error
from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import (
    InterruptedRunError,
    OutputError,
    TaemiError,
    TrainingError,
    UsageError,
    first_line,
    in_one_line,
)
from taemi_edge.parity.metrics import mean_pearson
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.sweep.plan import shown
from taemi_edge.taemi.train.run import (
    STATE,
    TrainingData,
    TrainOptions,
    TrainResult,
    open_training_data,
    train_recipe,
)
from taemi_edge.taemi.train.trainer import predict

RUN, CHECKPOINT, EVENTS = "run.json", "checkpoint", "events"
#: How often a run asks whether the sweep goes on.
_ASK_EVERY_S = 0.5
UNDEFINED = "the mean Pearson on the validation split is undefined: predictions are all the same, or labels unknown"


class RunLine(Frozen, frozen=True):
    """What a run found.

    Attributes:
        setting: the name of the setting's folder.
        values: the setting.
        seed: of weights, order and dropout.
        valid: the mean Pearson on the validation split, of the epoch that is kept; None where it is undefined or the
            run has a problem.
        test: the same on the test split, which chooses nothing; None also where there is no such split.
        epoch: the epoch that is kept, from 1.
        seconds: how long the run took.
        problem: why there is no value.
        again: the problem may lie outside of the setting, so the next call makes this run again.
        untrained_tokens: streams whose token learned nothing.
    """

    setting: str
    values: dict[str, Any]
    seed: int
    valid: float | None = None
    test: float | None = None
    epoch: int = 0
    seconds: float = 0.0
    problem: str = ""
    again: bool = False
    untrained_tokens: tuple[str, ...] = ()


class Stopped(Frozen, frozen=True):
    """A run that was not done because the sweep stops."""

    exit_code: int = 130


class Failed(Frozen, frozen=True):
    """A run whose results could not be written: no other run could write its own either."""

    text: str


@dataclass(frozen=True)
class RunTask:
    """A run to make. Paths are absolute and mean the same on all machines that run tasks.

    Attributes:
        setting: the name of the setting's folder.
        values: the setting.
        recipe: the setting's recipe with the run's seed.
        encoder_seed: of frozen encoders without weights, which all runs share.
        data: a feature store, by its path or address; a corpus where encoders are trained.
        folder: where the run is written.
    """

    setting: str
    values: dict[str, Any]
    recipe: ModelRecipe
    encoder_seed: int | None
    data: Path | str
    folder: Path

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the run {self.setting}/seed-{self.recipe.seed}"


@dataclass(frozen=True)
class RunSetup:
    """What all runs of a worker share.

    Attributes:
        mark: a file that is there as long as the sweep goes on.
        tensorboard: write events for TensorBoard, where this machine has it.
        provided: allow features that came with the data set.
    """

    mark: Path
    tensorboard: bool = False
    provided: bool = False


def read_run(folder: Path) -> RunLine | None:
    """Read the line of a run; None where the run is not done, or is to be made again."""
    try:
        line = msgspec.json.decode((folder / RUN).read_bytes(), type=RunLine)
    except (OSError, msgspec.MsgspecError):
        return None
    return None if line.again else line


def features_key(recipe: ModelRecipe, encoder_seed: int | None) -> str:
    """Recognise recipes whose clips are read and encoded alike, by a few letters."""
    known = msgspec.to_builtins(recipe)
    streams = {name: {k: v for k, v in known[name].items() if k != "presence"} for name in MODALITIES}
    parts = {"streams": streams, "seed": encoder_seed, "encoders": recipe.training.encoders}
    return sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


# ----------------------------------------------------------------------------------------------------- in a worker

_setup = RunSetup(Path())
#: What this worker has trained on last: the next run mostly reads the same.
_opened: dict[str, TrainingData] = {}


def open_worker(setup: RunSetup) -> None:
    """Prepare a worker: one thread, so that a seed gives the same weights wherever it is trained."""
    global _setup
    _setup = setup
    _opened.clear()
    torch.set_num_threads(1)


def train_run(task: RunTask) -> RunLine | Stopped | Failed:
    """Train a setting with a seed, or go on with it. What it finds is in its folder before this returns."""
    if not _goes_on():
        return Stopped()
    if (done := read_run(task.folder)) is not None:  # by a worker that was lost before it could answer
        (task.folder / STATE).unlink(missing_ok=True)
        return done
    try:
        line = _line_of(task)
        _write_events(task, line)
        write_json(task.folder / RUN, line)
        (task.folder / STATE).unlink(missing_ok=True)
        return line
    except InterruptedRunError as error:
        return Stopped(exit_code=error.exit_code)
    except OutputError as error:
        return Failed(text=str(error))
    except OSError as error:
        return Failed(text=str(write_error(task.folder, error)))


def _goes_on() -> bool:
    return _setup.mark.exists()


def _line_of(task: RunTask) -> RunLine:
    def line(**found: Any) -> RunLine:
        return RunLine(setting=task.setting, values=task.values, seed=task.recipe.seed, **found)

    try:
        result = _trained(task)
        test = _opened_for(task, result.checkpoint).test
        found = None
        if test is not None:
            predicted = predict(result.checkpoint.model, test, task.recipe.training)
            found = mean_pearson(predicted.numpy(), test.labels.numpy())
    except (InterruptedRunError, OutputError):
        raise
    except TrainingError as error:
        return line(problem=str(error))
    except (TaemiError, RuntimeError, ValueError, MemoryError) as error:  # memory that is full, data that is gone
        return line(problem=in_one_line(first_line(error)), again=True)
    valid = result.history[result.best_epoch - 1].valid_mean_pearson
    return line(
        valid=valid,
        test=found,
        epoch=result.best_epoch or len(result.history),
        seconds=sum(epoch.seconds for epoch in result.history),
        problem=UNDEFINED if valid is None else "",
        untrained_tokens=result.untrained_tokens,
    )


def _trained(task: RunTask) -> TrainResult:
    """Train to the end, from a state that was left where there is one."""
    resume = (task.folder / STATE).is_file()
    if resume:
        try:
            return _train(task, resume=True)
        except UsageError:  # the state is of another version, or damaged
            pass
    if task.folder.exists():
        shutil.rmtree(task.folder)
    return _train(task, resume=False)


def _train(task: RunTask, resume: bool) -> TrainResult:
    options = TrainOptions(
        data=task.data,
        output=task.folder / CHECKPOINT,
        run=task.folder,
        resume=resume,
        provided=_setup.provided,
        workers=1,
        tensorboard=task.folder / EVENTS if _writes_events() else None,
        encoder_seed=task.encoder_seed,
    )

    def data_for(checkpoint: Checkpoint) -> TrainingData:
        return _opened_for(task, checkpoint)

    return train_recipe(task.recipe, options, data_for=data_for, goes_on=_asked_now_and_then())


def _opened_for(task: RunTask, checkpoint: Checkpoint) -> TrainingData:
    key = f"{task.data} {features_key(task.recipe, task.encoder_seed)}"
    if key not in _opened:
        _opened.clear()
        options = TrainOptions(task.data, task.folder / CHECKPOINT, task.folder, provided=_setup.provided, workers=1)
        _opened[key] = open_training_data(checkpoint, options, with_test=True)
    return _opened[key]


def _writes_events() -> bool:
    return _setup.tensorboard and tensorboard_is_here()


def _write_events(task: RunTask, line: RunLine) -> None:
    if not _writes_events():
        return
    from taemi_edge.taemi.train.events import write_hyperparameters

    plain = {
        key: value if isinstance(value, bool | int | float) else shown(value) for key, value in line.values.items()
    }
    figures = {"valid_mean_pearson": line.valid, "test_mean_pearson": line.test}
    known = {f"final/{name}": value for name, value in figures.items() if value is not None}
    write_hyperparameters(task.folder / EVENTS, {**plain, "seed": line.seed}, known)


def _asked_now_and_then() -> Callable[[], bool]:
    """Ask whether the sweep goes on, once in many steps: a shared file system answers slowly."""
    asked_s = time.monotonic()

    def goes_on() -> bool:
        nonlocal asked_s
        if time.monotonic() - asked_s < _ASK_EVERY_S:
            return True
        asked_s = time.monotonic()
        return _goes_on()

    return goes_on


@cache
def tensorboard_is_here() -> bool:
    """Whether this machine can write events for TensorBoard."""
    try:
        import torch.utils.tensorboard  # noqa: F401 - whether it can be imported is the question
    except ImportError:
        return False
    return True
