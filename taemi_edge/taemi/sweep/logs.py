"""Logs of a sweep: events for TensorBoard, which each run writes, and runs of MLflow, which the sweep writes.

A log that fails never ends a sweep: what is not logged yet is logged by the next call.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.json_files import write_json
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import MissingExtraError, UsageError, expected_one_of, first_line
from taemi_edge.taemi.sweep.plan import shown
from taemi_edge.taemi.sweep.runs import RunLine, tensorboard_is_here
from taemi_edge.taemi.train.run import METRICS
from taemi_edge.taemi.train.trainer import EpochMetrics

TRACKING = "MLFLOW_TRACKING_URI"
#: In a run's folder: which run of MLflow it is.
LOGGED = "mlflow.json"
#: MLflow takes so many metrics in one call.
_METRICS_A_CALL = 1000
#: Where the environment says nothing else: a server that is gone is given up soon, for MLflow would try for minutes,
#: and MLflow prints no line for each run.
_MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_MOST_SAID = 600
_KNOWN = ("tensorboard", "mlflow", "none")


class MlflowRun(Frozen, frozen=True):
    """Which run of MLflow a run of a sweep is; the server is known by a hash, for its address may hold a password."""

    run_id: str
    server: str


@dataclass
class Logs:
    """Where a sweep logs.

    Attributes:
        tensorboard: whether runs write events.
        experiment: of MLflow; empty for no MLflow.
        recipe: a tag of each run of MLflow.
        problem: why MLflow does not have all runs; empty where it has.
    """

    tensorboard: bool = False
    experiment: str = ""
    recipe: str = ""
    problem: str = ""
    _client: Any = None
    _experiment_id: str = field(default="", repr=False)

    def connect(self) -> None:
        """Find or make the experiment.

        Raises:
            UsageError: MLflow cannot be reached.
        """
        for name, value in _MANNERS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        try:
            client = MlflowClient(tracking_uri=os.environ[TRACKING])
            found = client.get_experiment_by_name(self.experiment)
            self._experiment_id = found.experiment_id if found else client.create_experiment(self.experiment)
            self._client = client
        except Exception as error:  # each store of MLflow has exceptions of its own
            raise UsageError(
                f"--log mlflow: what {TRACKING} names cannot be used ({_said(error)}): start the server, correct the "
                f"address, or give --log none"
            ) from error

    def log(self, line: RunLine, folder: Path) -> None:
        """Log a run to MLflow, unless it is there already or MLflow failed before."""
        if self._client is None or _server_of(folder) == _this_server():
            return
        try:
            run_id = self._log(line, folder)
        except Exception as error:  # noqa: BLE001 - as above; a lost log must not end a sweep of days
            self._client = None
            self.problem = (
                f"MLflow failed ({_said(error)}), so runs are missing there: the same command logs them later"
            )
            return
        write_json(folder / LOGGED, MlflowRun(run_id=run_id, server=_this_server()))

    def _log(self, line: RunLine, folder: Path) -> str:
        from mlflow.entities import Metric, Param, RunStatus

        tags = {"recipe": self.recipe, "folder": str(folder)}
        if line.problem:
            tags["problem"] = line.problem
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=f"{line.setting}/seed-{line.seed}")
        run_id: str = run.info.run_id
        params = [Param(key, shown(value)) for key, value in {**line.values, "seed": line.seed}.items()]
        metrics = [Metric(*figure) for figure in _metrics(line, folder)]
        for at in range(0, max(len(metrics), 1), _METRICS_A_CALL):
            self._client.log_batch(run_id, metrics[at : at + _METRICS_A_CALL], params if at == 0 else [])
        status = RunStatus.FAILED if line.problem else RunStatus.FINISHED
        self._client.set_terminated(run_id, RunStatus.to_string(status))
        return run_id


def choose_logs(names: Sequence[str] | None, folder: Path, recipe: str) -> Logs:
    """Where a sweep logs: where it is told to, else where it can.

    Without a word that is TensorBoard, where it is installed, and MLflow, where it is installed and
    `MLFLOW_TRACKING_URI` is set. The experiment of MLflow is `MLFLOW_EXPERIMENT_NAME`, else the name of the folder.

    Args:
        names: of `--log`.
        folder: of the sweep.
        recipe: its name.

    Raises:
        UsageError: a name is unknown, or MLflow is asked for and cannot be reached.
        MissingExtraError: what is asked for is not installed.
    """
    if unknown := [name for name in names or () if name not in _KNOWN]:
        raise UsageError(f"--log {expected_one_of(_KNOWN, unknown[0])}")
    if names and "none" in names and len(names) > 1:
        raise UsageError("--log none: expected it alone, got other logs beside it")
    logs = Logs(recipe=recipe)
    if tensorboard_is_here() if names is None else "tensorboard" in names:
        if not tensorboard_is_here():
            raise MissingExtraError("tensorboard", "tensorboard", "--log tensorboard")
        logs.tensorboard = True
    asked = names is not None and "mlflow" in names
    if asked and importlib.util.find_spec("mlflow") is None:
        raise MissingExtraError("mlflow", "mlflow", "--log mlflow")
    if asked and not os.environ.get(TRACKING):
        raise UsageError(f"--log mlflow: expected the address of a server in {TRACKING}, such as http://127.0.0.1:5000")
    if asked or (names is None and os.environ.get(TRACKING) and importlib.util.find_spec("mlflow")):
        logs.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or folder.resolve().name
        logs.connect()
    return logs


def _said(error: Exception) -> str:
    """What MLflow says of an error, without addresses, which may hold a password."""
    return re.sub(r"\S+://\S*|\S+@\S+", "...", first_line(error))[:_MOST_SAID]


def _metrics(line: RunLine, folder: Path) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, time in ms and step of each figure: those of the epochs, then those of the run."""
    file = folder / METRICS
    written_ms = int(file.stat().st_mtime * 1000) if file.is_file() else 0
    for text in file.read_bytes().splitlines() if file.is_file() else ():
        epoch = msgspec.json.decode(text, type=EpochMetrics)
        yield "loss", epoch.loss, written_ms, epoch.step
        yield "learning_rate", epoch.learning_rate, written_ms, epoch.step
        if epoch.valid_mean_pearson is not None:
            yield "valid_mean_pearson_by_epoch", epoch.valid_mean_pearson, written_ms, epoch.step
    for name, value in (("valid_mean_pearson", line.valid), ("test_mean_pearson", line.test)):
        if value is not None:
            yield name, value, written_ms, 0


def _server_of(folder: Path) -> str | None:
    try:
        return msgspec.json.decode((folder / LOGGED).read_bytes(), type=MlflowRun).server
    except (OSError, msgspec.MsgspecError):
        return None


def _this_server() -> str:
    return sha256(os.environ.get(TRACKING, "").encode()).hexdigest()[:12]
