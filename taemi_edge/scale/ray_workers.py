"""Workers on a Ray cluster: what `run_parallel` does in processes, done by actors on many machines.

The same two functions are a process's and an actor's: one prepares a worker, one is called with each task. They write
their results themselves, and what they give back is a line. Ray (https://docs.ray.io) is an extra of this package.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from taemi_edge.scale.clusters.connection import LOCAL, Connection, connect
from taemi_edge.scale.clusters.crew import Crew
from taemi_edge.scale.clusters.jobs import Job, libraries
from taemi_edge.scale.clusters.places import looked_at

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass
class _Session:
    """The connection and the actors, as long as they are kept."""

    connection: Connection | None = None
    crew: Crew | None = None
    kept: bool = False
    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RayWorkers:
    """A pool of actors on a Ray cluster, for whatever takes `workers`.

    In a `with` block the connection and the actors are kept from one piece of work to the next; without one, each piece
    of work has its own.

    Attributes:
        address: "auto" for the cluster that this machine belongs to, "local" for one that is started on this machine
            and ends with the work, "host:port" of a head, or "ray://host:port".
        count: how many actors; 0 for one for each CPU (with `gpus`, each GPU) that the cluster has, as it grows and
            shrinks.
        shared: files and folders that every node must see as this machine does, beside those that the work names.
        gpus: how many GPUs an actor needs; .5 lets two share one.

    Example:
        >>> from taemi_edge.bundle.workers import run_parallel
        >>> with RayWorkers("local", 1) as workers:
        ...     sorted(run_parallel(abs, [-1, 2, -3], workers))
        [1, 2, 3]
    """

    address: str
    count: int = 0
    shared: tuple[Path | str, ...] = ()
    gpus: float = 0.0
    _session: _Session = field(default_factory=_Session, init=False, repr=False, compare=False)

    @property
    def on_this_machine(self) -> bool:
        """Whether all workers see the files of this process."""
        return self.address == LOCAL

    def require_shared(self, reads: Iterable[Path | str] = (), writes: Iterable[Path | str] = ()) -> None:
        """Refuse a cluster whose nodes do not see the places of the work to come as this machine does.

        In a `with` block this is where the cluster is reached; outside of one, it is when the work begins.

        Args:
            reads: files and folders that are only read.
            writes: folders that workers write to.

        Raises:
            MissingExtraError: Ray is not installed.
            ClusterError: there is no cluster, or a node of it cannot do the work.
        """
        session = self._session
        session.reads += [str(place) for place in reads if str(place) not in session.reads]
        session.writes += [str(place) for place in writes if str(place) not in session.writes]
        if session.kept:
            self._inspect(session.crew or self._open())

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        initialise: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> Iterator[Result]:
        """Run a function over tasks; see `run_parallel`.

        Raises:
            MissingExtraError: Ray is not installed.
            ClusterError: there is no cluster, a node cannot do the work, or workers were lost again and again.
        """
        session = self._session
        try:
            crew = session.crew
            if crew is None:
                crew = self._open()
                self._inspect(crew)
            with self._job(function, initialise, arguments) as job:
                yield from crew.run(job, tasks)
        finally:
            if not session.kept:
                self.close()

    @contextmanager
    def _job(
        self,
        function: Callable[..., Any] | None,
        initialise: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> Iterator[Job]:
        """What actors are told of a piece of work, with what they must see for it."""
        reads, writes = [*map(str, self.shared), *self._session.reads], self._session.writes
        with looked_at(*(((), ()) if self.on_this_machine else (reads, writes))) as places:
            yield Job(function, initialise, arguments, os.getcwd(), places, libraries())

    def _open(self) -> Crew:
        connection = self._session.connection = connect(self.address, self.count)
        crew = self._session.crew = Crew(connection, self.count, self.gpus)
        return crew

    def _inspect(self, crew: Crew) -> None:
        with self._job(None) as job:
            crew.inspect(job)

    def close(self) -> None:
        """End the actors and leave the cluster; the next work connects again."""
        session = self._session
        connection, crew = session.connection, session.crew
        session.connection = session.crew = None
        try:
            if crew is not None:
                crew.close()
        finally:
            if connection is not None:
                connection.close()

    def __enter__(self) -> RayWorkers:
        self._session.kept = True
        return self

    def __exit__(self, *_: object) -> None:
        self._session.kept = False
        self.close()


def run_on_ray(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    address: str,
    initialise: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
    count: int = 0,
) -> Iterator[Result]:
    """Run a function over tasks on a Ray cluster, as `run_parallel` does in processes.

    Args:
        function: what is called with each task; a function that can be imported by its name on every node.
        tasks: its arguments, one for each call.
        address: of the cluster, as `RayWorkers` takes it.
        initialise: called once in each actor before its first task.
        arguments: what `initialise` is called with.
        count: how many actors; 0 for one for each CPU of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: there is no cluster, a node cannot do the work, or workers were lost again and again.

    Yields:
        The results in the order in which they are done.

    Example:
        >>> sorted(run_on_ray(abs, [-1, 2, -3], "local", count=1))
        [1, 2, 3]
    """
    yield from RayWorkers(address, count).run(function, tasks, initialise, arguments)
