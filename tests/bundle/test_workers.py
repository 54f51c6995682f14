"""Tasks run in other processes, which pass their results and their exceptions on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taemi_edge.bundle.workers import run_parallel
from taemi_edge.errors import BackendError

_started: list[str] = []


def _start(name: str) -> None:
    _started.append(name)


def _place_of(task: int) -> tuple[int, int, tuple[str, ...]]:
    if task < 0:
        raise ValueError(f"expected a task of at least 0, got {task}")
    return task, os.getpid(), tuple(_started)


def test_every_task_is_done_in_a_started_worker():
    results = list(run_parallel(_place_of, range(5), 2, _start, ("a",)))
    assert sorted(task for task, _, _ in results) == list(range(5))
    assert os.getpid() not in {pid for _, pid, _ in results}
    assert {started for _, _, started in results} == {("a",)}


def test_one_worker_is_this_process_and_keeps_the_order():
    results = list(run_parallel(_place_of, range(3), 1))
    assert [(task, pid) for task, pid, _ in results] == [(task, os.getpid()) for task in range(3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_a_task_ends_the_work(workers: int):
    with pytest.raises(ValueError, match="got -1"):
        list(run_parallel(_place_of, [0, -1, 2], workers))


def _signalled(number: int) -> int:
    os.kill(os.getpid(), number)
    return number


def test_a_killed_worker_is_one_sentence():
    with pytest.raises(BackendError, match="one of 2 worker processes was killed, as happens where memory runs out"):
        list(run_parallel(_signalled, [int(signal.SIGKILL)], 2))


def test_signals_to_all_processes_of_a_service_are_left_to_the_parent():
    numbers = [int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGHUP)]
    assert sorted(run_parallel(_signalled, numbers, 2)) == sorted(numbers)


def _sleep(place: str) -> None:
    Path(place, str(os.getpid())).touch()
    time.sleep(60)


def test_workers_end_with_a_killed_parent(tmp_path: Path):
    script = "import sys\nfrom tests.bundle.test_workers import _sleep\n"
    script += "from taemi_edge.bundle.workers import run_parallel\n"
    script += "if __name__ == '__main__':\n    list(run_parallel(_sleep, [sys.argv[1]] * 2, 2))\n"
    (tmp_path / "parent.py").write_text(script)
    (tmp_path / "workers").mkdir()
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "workers")]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE) as parent:
        until = time.monotonic() + 60
        while len(os.listdir(tmp_path / "workers")) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        workers = [int(name) for name in os.listdir(tmp_path / "workers")]
        assert len(workers) == 2
        parent.kill()
    until = time.monotonic() + 10
    while any(_runs(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_runs(worker) for worker in workers)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
