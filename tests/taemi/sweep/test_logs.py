"""Logs of sweeps: where they go without a word, what is refused, and MLflow itself."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.taemi.sweep import logs
from taemi_edge.taemi.sweep.logs import LOGGED, TRACKING, choose_logs
from taemi_edge.taemi.sweep.runs import RunLine
from taemi_edge.taemi.train.run import METRICS

METRICS_LINE = (
    '{"epoch":%d,"step":%d,"loss":2.0,"valid_mean_pearson":0.25,"learning_rate":0.001,"token_gradient":{},"seconds":1}'
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TRACKING, "MLFLOW_EXPERIMENT_NAME", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_without_a_word_nothing_leaves_this_machine(tmp_path):
    chosen = choose_logs(None, tmp_path, "tiny")
    assert chosen.experiment == ""
    assert chosen.tensorboard is logs.tensorboard_is_here()
    assert not choose_logs(["none"], tmp_path, "tiny").tensorboard


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["wandb"], "expected tensorboard, mlflow or none"),
        (["none", "mlflow"], "--log none: expected it alone"),
    ],
)
def test_unknown_logs_are_refused(names, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        choose_logs(names, tmp_path, "tiny")


def test_what_is_asked_for_must_be_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "tensorboard_is_here", lambda: False)
    with pytest.raises(MissingExtraError, match=r"taemi-edge\[tensorboard\]"):
        choose_logs(["tensorboard"], tmp_path, "tiny")
    assert not choose_logs(None, tmp_path, "tiny").tensorboard
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"taemi-edge\[mlflow\]"):
        choose_logs(["mlflow"], tmp_path, "tiny")
    monkeypatch.setenv(TRACKING, "http://127.0.0.1:1")
    assert choose_logs(None, tmp_path, "tiny").experiment == ""


def test_mlflow_needs_a_server(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="logging there needs the extra `mlflow`")
    with pytest.raises(UsageError, match=f"--log mlflow: expected the address of a server in {TRACKING}"):
        choose_logs(["mlflow"], tmp_path, "tiny")
    monkeypatch.setenv(TRACKING, "http://me:secret@127.0.0.1:1")
    for names in (["mlflow"], None):
        with pytest.raises(UsageError, match=f"what {TRACKING} names cannot be used") as refused:
            choose_logs(names, tmp_path, "tiny")
        assert "secret" not in str(refused.value)


def test_runs_are_logged_to_mlflow_once(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="logging there needs the extra `mlflow`")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(TRACKING, (tmp_path / "mlruns").as_uri())
    for _ in range(2):  # the second call of a sweep sees its runs again
        chosen = choose_logs(None, tmp_path / "my-sweep", "tiny")
        for seed in (0, 1):
            chosen.log(_run(tmp_path, seed), tmp_path / f"seed-{seed}")
        assert chosen.problem == ""
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    runs = client.search_runs([client.get_experiment_by_name("my-sweep").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["a=1/seed-0", "a=1/seed-1"]
    first = next(run for run in runs if run.info.run_name.endswith("seed-0"))
    assert first.info.status == "FINISHED"
    assert first.data.params == {"a": "0.001", "b": '["x"]', "seed": "0"}
    assert first.data.metrics["valid_mean_pearson"] == 0.25
    assert first.data.tags["recipe"] == "tiny"
    assert [m.step for m in client.get_metric_history(first.info.run_id, "loss")] == [5, 10]
    failed = next(run for run in runs if run.info.run_name.endswith("seed-1"))
    assert (failed.info.status, failed.data.tags["problem"]) == ("FAILED", "diverged")
    assert "mlruns" not in (tmp_path / "seed-0" / LOGGED).read_text()  # an address may hold a password


def _run(folder: Path, seed: int) -> RunLine:
    (folder / f"seed-{seed}").mkdir(exist_ok=True)
    if seed:
        return RunLine(setting="a=1", values={"a": 1e-3}, seed=seed, problem="diverged")
    (folder / "seed-0" / METRICS).write_text("\n".join(METRICS_LINE % (at, 5 * at) for at in (1, 2)))
    return RunLine(setting="a=1", values={"a": 1e-3, "b": ["x"]}, seed=seed, valid=0.25, test=0.125)


def test_a_server_that_goes_away_ends_no_sweep(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="logging there needs the extra `mlflow`")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(TRACKING, (tmp_path / "mlruns").as_uri())
    chosen = choose_logs(["mlflow"], tmp_path / "my-sweep", "tiny")
    (tmp_path / "mlruns").rename(tmp_path / "moved")
    for seed in (0, 1):
        chosen.log(_run(tmp_path, seed), tmp_path / f"seed-{seed}")
    assert chosen.problem.startswith("MLflow failed (")
    assert chosen.problem.endswith("the same command logs them later")
    assert not (tmp_path / "seed-0" / LOGGED).exists()
