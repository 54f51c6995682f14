"""Tasks in, results out in the order they are done, over processes that never outlive their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_parallel(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    initialise: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Run a function over tasks in fresh processes; with one worker, here.

    Tasks are taken as workers come free, so neither tasks nor results pile up. An exception ends it all; on Ctrl-C or
    when the caller stops asking, tasks that wait are dropped and those under way are waited for.

    Args:
        function: importable by name; so is `initialise`, which is called once in each process with `arguments`.
        workers: how many processes; 0 for as many as there are cores.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        if initialise:
            initialise(*arguments)
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (os.getpid(), initialise, arguments)
    )
    waiting = iter(tasks)
    pending: set[Future[Result]] = set()
    try:
        while True:
            pending |= {pool.submit(function, task) for task in islice(waiting, 2 * workers - len(pending))}
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int, initialise: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone: a killed one cannot say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if initialise:
        initialise(*arguments)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
