"""The actors of a cluster that do one job after another: made as nodes allow, replaced where they are lost.

An actor does one task at a time, so that nothing waits behind a slow one. A task whose actor is lost is done again by
another; results are written whole or not at all, so nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from taemi_edge.errors import ClusterError
from taemi_edge.scale.clusters.connection import Connection
from taemi_edge.scale.clusters.jobs import Job, RaisedError
from taemi_edge.scale.clusters.worker_class import identity_function, worker_class

_LOG = logging.getLogger("taemi_edge.scale")
#: A task that ends so many workers is given up: as a rule it needs more memory than a node has.
MOST_LOSSES = 3
#: How often the size of the cluster is asked for, how long a node with processors is waited for, when waiting is told,
#: and how long running tasks may take at the end, in seconds.
_LOOK_S, _NODES_S, _LATE_S, _END_S = 2.0, 10.0, 10.0, 60.0


@dataclass(eq=False)
class _Task:
    """A task on its way: what it is called, what is sent, and how many workers it has outlived."""

    name: str
    packed: bytes
    losses: int = 0


@dataclass(eq=False)
class _Actor:
    """An actor and what it does.

    Attributes:
        handle: Ray's.
        waits_for: what it was asked last and has not answered: a set-up, or a task.
        node, node_id: where it is, once it has said so.
        task: what it does.
        since: when it was asked.
        unfit: why its node cannot do the job; it is kept so that Ray puts no other one there.
    """

    handle: Any
    waits_for: Any = None
    node: str = ""
    task: _Task | None = None
    since: float = 0.0
    unfit: str = ""
    ready: bool = False


@dataclass
class _Losses:
    """What was lost while a job was done: workers, tasks that were done again, and the time that it cost."""

    workers: int = 0
    tasks: int = 0
    seconds: float = 0.0
    reasons: dict[str, None] = field(default_factory=dict)

    def tell(self) -> None:
        """Say it in one line."""
        if self.workers:
            _LOG.warning(
                "lost %s (%s) and did %s again: %.0f s of a worker's time went with it",
                _counted(self.workers, "worker"),
                "; ".join(self.reasons),
                _counted(self.tasks, "task"),
                self.seconds,
            )


class Crew:
    """The actors on a cluster.

    Args:
        connection: to the cluster.
        count: how many actors; 0 for one for each processor, or each GPU, that the cluster has.
        gpus: how many GPUs each of them needs, 0 for none.
    """

    def __init__(self, connection: Connection, count: int, gpus: float) -> None:
        ray = self._ray = connection.ray
        self._cluster, self._watch, self._count, self._gpus = connection.name, connection.watch, count, gpus
        made = worker_class()
        self._identity = identity_function()()
        self._class = ray.remote(made).options(num_cpus=0 if gpus else 1, num_gpus=gpus, max_restarts=0)
        self._actors: list[_Actor] = []
        self._wanted, self._looked = 0, 0.0
        self._told: set[str] = set()
        self.started = False  # all actors of the beginning have been looked at

    def run(self, job: Job, tasks: Iterable[Any]) -> Iterator[Any]:
        """Do a job.

        Args:
            job: what every actor is told first.
            tasks: what is sent, one after the other, as actors are free.

        Raises:
            ClusterError: no node can do the job, a task has ended several workers, or the head is lost.

        Yields:
            The results in the order in which they are done.
        """
        work = _Work(self, job, tasks)
        for actor in self._actors:
            actor.ready, actor.unfit = False, ""
            work.set_up(actor)
        try:
            with self._watch.tells_of_losses():
                yield from work.results()
        finally:
            work.end()

    def inspect(self, job: Job) -> None:
        """Make the first actors, and let them say whether their nodes can do a job.

        Raises:
            ClusterError: a node cannot, or there is none.
        """
        with self._watch.tells_of_losses():
            self._inspect(_Work(self, job, ()))

    def _inspect(self, work: _Work) -> None:
        work.make(self.size() - len(self._actors))
        while waiting := [actor for actor in self._actors if actor.waits_for is not None]:
            if work.waited() > _LATE_S and any(actor.ready for actor in self._actors):
                break  # other programs have the rest of the cluster for now
            work.take_answers(waiting)
            work.make(0 if self._actors else self.size())
        self.started = True

    def close(self) -> None:
        """End all actors."""
        for actor in self._actors:
            self._kill(actor)
        self._actors.clear()

    def _kill(self, actor: _Actor) -> None:
        if self._watch.answers:  # without a head nobody ends an actor; Ray does when it has given up its node
            self._ray.kill(actor.handle, no_restart=True)

    def size(self) -> int:
        """How many actors there shall be; the cluster may have grown or shrunk."""
        if self._count:
            return self._count
        if self._watch.answers and time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            resources = self._ray.cluster_resources()
            self._wanted = int(resources.get("GPU", 0) / self._gpus if self._gpus else resources.get("CPU", 0))
        return self._wanted

    def note(self, text: str) -> None:
        """Tell something once."""
        if text not in self._told:
            self._told.add(text)
            _LOG.warning("%s", text)


class _Work:
    """One job under way."""

    def __init__(self, crew: Crew, job: Job, tasks: Iterable[Any]) -> None:
        self.crew, self.ray = crew, crew._ray
        self.tasks = iter(tasks)
        self.queue: deque[_Task] = deque()
        self.exhausted = False
        self.packed = self.ray.put(self.ray.cloudpickle.dumps(job))
        self.losses = _Losses()
        self.replacing = 0  # actors that were lost and have no successor yet
        self.unprepared = 0  # actors that were lost before their first task, since one was ready
        self.began = self.heard = time.monotonic()  # when the job began, and when a worker answered last

    def results(self) -> Iterator[Any]:
        """Keep every actor busy until nothing is left to do."""
        while True:
            self._fill()
            busy = [actor for actor in self.crew._actors if actor.waits_for is not None]
            if self.exhausted and not self.queue and not any(actor.task for actor in busy):
                return
            done = self.take_answers(busy)
            self._fill()  # before the caller does what it does with results
            yield from done

    def take_answers(self, actors: list[_Actor]) -> list[Any]:
        """Take the answers that are there, and give the results among them."""
        asked = {actor.waits_for: actor for actor in actors}
        return [result for ref in self._answered(list(asked)) for result in self._take(asked[ref], ref)]

    def waited(self) -> float:
        """How long this job has been under way, in seconds."""
        return time.monotonic() - self.began

    def make(self, count: int) -> None:
        """Make actors and tell them of the job."""
        for _ in range(count if self.crew._watch.answers else 0):
            actor = _Actor(self.crew._class.remote())
            self.crew._actors.append(actor)
            self.set_up(actor)

    def _answered(self, refs: list[Any]) -> list[Any]:
        """The answers that are there, waiting a second for the first of them."""
        self.crew._watch.require_head()
        if not refs:
            time.sleep(0.2)
            self._require_nodes()
            return []
        ready, _ = self.ray.wait(refs, num_returns=1, timeout=1.0)
        if not ready:
            self._require_nodes()
            return []
        more, _ = self.ray.wait(refs, num_returns=len(refs), timeout=0)
        return list(more)

    def _fill(self) -> None:
        """Take as many tasks as there are free actors, make actors for them, and hand them out."""
        crew = self.crew
        size = crew.size()
        free = [actor for actor in crew._actors if actor.task is None and not actor.unfit]
        working = sum(actor.task is not None for actor in crew._actors)
        while not self.exhausted and len(self.queue) < max(size - working, 0 if working else 1):
            try:
                task = next(self.tasks)
            except StopIteration:
                self.exhausted = True
                break
            self.queue.append(_Task(_name_of(task), self.ray.cloudpickle.dumps(task)))
        self.make(min(len(self.queue) - len(free), size - len(crew._actors)))
        for actor in free:
            if self.queue and actor.ready:
                actor.task = self.queue.popleft()
                self._ask(actor, actor.handle.work.remote(actor.task.packed))

    def set_up(self, actor: _Actor) -> None:
        """Tell an actor of the job."""
        self._ask(actor, actor.handle.set_up.remote(self.crew._identity, self.packed))

    def _ask(self, actor: _Actor, ref: Any) -> None:
        actor.waits_for, actor.since = ref, time.monotonic()

    def _take(self, actor: _Actor, ref: Any) -> list[Any]:
        """Take an answer: the result of a task in a list, or nothing after a set-up or a loss."""
        actor.waits_for = None
        try:
            answer = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:  # of the actor's own code: a bug, or a foreign environment
            raise ClusterError(f"a worker of {self.crew._cluster} failed: {_last_line(error)}") from error
        except self.ray.exceptions.RayError as error:
            self._lose(actor, error)
            return []
        self.heard = time.monotonic()
        if actor.task is None:
            self._begin(actor, answer)
            return []
        task, actor.task = actor.task, None
        result, raised = answer
        if raised is not None:
            raise raised.at(f"{task.name}, on node {actor.node}")
        return [result]

    def _begin(self, actor: _Actor, here: dict[str, Any]) -> None:
        """Take what an actor says of itself and its node before its first task."""
        actor.node = here["node"]
        if self.replacing:
            self.replacing -= 1
            self.losses.seconds += time.monotonic() - actor.since
        if here["nice"] > 0:
            self.crew.note(f"workers run at nice {here['nice']}, as this cluster starts them: other programs go first")
        if here.get("remark"):
            self.crew.note(here["remark"])
        raised: RaisedError | None = here.get("error")
        if raised is not None:
            raise raised.at(f"on node {actor.node}")
        if here.get("problem"):
            if not self.crew.started:
                raise ClusterError(here["problem"])
            actor.unfit = here["problem"]
            self.crew.note(f"{here['problem']}; until then that node is left out")
            return
        actor.ready, self.unprepared = True, 0

    def _lose(self, actor: _Actor, error: Exception) -> None:
        """An actor is gone: its task goes to the front of the queue."""
        reason = _reason(error)
        where = f"node {actor.node}: {reason}" if actor.node else reason
        self.losses.workers += 1
        self.replacing += 1
        self.losses.reasons[where] = None
        self.losses.seconds += time.monotonic() - actor.since
        self.crew._actors.remove(actor)
        self.crew._kill(actor)  # one that Ray cannot reach for the moment must not come back
        if actor.task is None:
            self.unprepared += 1
            known = any(other.ready for other in self.crew._actors)
            if self.unprepared >= MOST_LOSSES * max(4, len(self.crew._actors)) and not known:
                raise ClusterError(
                    f"no worker of {self.crew._cluster} could be prepared: the last one was lost ({where})"
                )
            return
        self.losses.tasks += 1
        actor.task.losses += 1
        if actor.task.losses >= MOST_LOSSES:
            raise ClusterError(
                f"{actor.task.name} has ended {actor.task.losses} workers, the last one on {where}: give its node more "
                f"memory, or leave it out"
            )
        self.queue.appendleft(actor.task)

    def _require_nodes(self) -> None:
        """Refuse a cluster that has no processors, or no node that can do the job; tell where they are all taken."""
        crew = self.crew
        if any(actor.ready for actor in crew._actors) or not crew._watch.answers:
            self.heard = time.monotonic()
            return
        waited = time.monotonic() - self.heard  # a node that was lost may be replaced
        kind = "GPU" if crew._gpus else "CPU"
        has = int(self.ray.cluster_resources().get(kind, 0))
        if not has and waited > _NODES_S:
            raise ClusterError(
                f"{crew._cluster} has no node with {kind}s: run `ray start --address` on a machine that has"
            )
        if waited > _NODES_S and crew._actors and all(actor.unfit for actor in crew._actors):
            raise ClusterError(crew._actors[0].unfit)
        if has and waited > _LATE_S and not any(actor.node for actor in crew._actors):
            crew.note(f"waiting for {crew._cluster}: none of its {has} {kind}s is free")

    def end(self) -> None:
        """Let running tasks end, as processes do, and say what was lost."""
        running = [actor for actor in self.crew._actors if actor.waits_for is not None]
        try:
            if running:
                refs = [actor.waits_for for actor in running if actor.task is not None]
                if refs and self.crew._watch.answers:
                    self.ray.wait(refs, num_returns=len(refs), timeout=_END_S)
        finally:
            for actor in running:
                self.crew._actors.remove(actor)
                self.crew._kill(actor)
            self.losses.tell()


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _name_of(task: Any) -> str:
    """What messages call a task: the id or name of the thing that it is about."""
    first = task[0] if isinstance(task, tuple) and task else task
    for attribute, word in (("id", "clip "), ("name", ""), ("part", "")):
        if isinstance(found := getattr(first, attribute, None), str):
            return f"{word}{found}"
    return f"task {first!s:.60}"


def _reason(error: Exception) -> str:
    """Why an actor is gone, in a few words."""
    text = str(error)
    if "running low on memory" in text:
        return "memory ran out"
    if "worker process has died" in text:
        return "the process was killed"
    return "the node was lost" if "node" in text and "died" in text else "it could not be reached"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
