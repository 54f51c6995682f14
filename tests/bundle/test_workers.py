"""Tasks run in other processes, which pass their results and their exceptions on."""

from __future__ import annotations

import os

import pytest

from taemi_edge.bundle.workers import run_parallel

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
