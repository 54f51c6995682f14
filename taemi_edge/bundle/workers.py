"""Running tasks in several processes. The processes end when their parent ends, even if it is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from taemi_edge.bundle.signals import STOP_SIGNALS
from taemi_edge.errors import BackendError

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerPool(Protocol):
    """Workers elsewhere than in processes of this machine, such as those of a cluster."""

    @property
    def on_this_machine(self) -> bool:
        """Whether all workers see the files of this process."""

    def require_shared(self, reads: Iterable[Path | str] = (), writes: Iterable[Path | str] = ()) -> None:
        """Refuse workers that do not see the places of the work to come as this process does."""

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        initialise: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> Iterator[Result]:
        """Run a function over tasks, as `run_parallel` does."""


def run_parallel(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int | WorkerPool,
    initialise: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Run a function over tasks in new processes, in this process where there is one worker, or on a pool elsewhere.

    Tasks are taken when a worker is free, so neither tasks nor results pile up. An exception of a task ends all work.
    On Ctrl-C, or when the caller closes the generator, waiting tasks are dropped and running ones are waited for.

    Args:
        function: what is called with each task; a function that can be imported by its name.
        tasks: its arguments, one for each call.
        workers: how many processes, 0 for as many as there are cores; or a pool.
        initialise: called once in each process, before its first task; it too can be imported by its name.
        arguments: what `initialise` is called with.

    Raises:
        BackendError: a worker process was killed.

    Yields:
        The results in the order in which they are done; with one worker in the order of the tasks.

    Example:
        >>> list(run_parallel(abs, [-1, 2, -3], workers=1))
        [1, 2, 3]
    """
    if not isinstance(workers, int):
        yield from workers.run(function, tasks, initialise, arguments)
        return
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        if initialise:
            initialise(*arguments)
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (os.getpid(), initialise, arguments)
    )
    try:
        yield from _results_of(pool, function, tasks, workers)
    except BrokenProcessPool as error:
        raise BackendError(
            f"one of {workers} worker processes was killed, as happens where memory runs out: give fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def require_shared(
    workers: int | WorkerPool, reads: Iterable[Path | str] = (), writes: Iterable[Path | str] = ()
) -> None:
    """Refuse workers elsewhere that do not see the places of the work to come as this process does.

    What writes results calls this first, so that nothing is half-written where the work cannot be done.

    Args:
        workers: whatever does the work; processes of this machine see all places.
        reads: files and folders that are only read.
        writes: folders that workers write to.
    """
    if not isinstance(workers, int):
        workers.require_shared(reads, writes)


def scratch_place(workers: int | WorkerPool, beside: Path) -> Path | None:
    """Where files of a task may lie for a while so that all workers see them; None among the temporary files.

    Args:
        workers: whatever does the work.
        beside: a folder that workers elsewhere see, such as the one that the result is written to.
    """
    return None if isinstance(workers, int) or workers.on_this_machine else beside


def _results_of(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """Hand over tasks as workers are free, and give results as they are done."""
    waiting = iter(tasks)
    pending: set[Future[Result]] = set()
    while True:
        pending |= {pool.submit(function, task) for task in islice(waiting, 2 * workers - len(pending))}
        if not pending:
            return
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _begin(parent: int, initialise: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Leave signals to the parent, and watch that the parent is alive: a killed one cannot end its workers.

    Ctrl-C goes to all processes of a terminal, and systemd sends SIGTERM to all processes of a service.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, args=(parent,), daemon=True).start()
    if initialise:
        initialise(*arguments)


def end_with_parent(parent: int) -> None:
    """Watch, in a thread of a child process, that the process `parent` is alive, and end with it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
