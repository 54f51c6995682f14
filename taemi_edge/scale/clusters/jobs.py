"""A job in a worker: the function that is called with every task, and what the node must have for it."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taemi_edge.errors import BackendError, TaemiError
from taemi_edge.scale.clusters.places import Place

#: Results may differ in their last bits between versions of these.
_COMPUTING = ("onnxruntime", "numpy", "av", "opencv-python-headless")


@dataclass(frozen=True)
class Job:
    """What a worker is told of the work before its first task.

    Attributes:
        function: what is called with each task; None where nodes are only looked at.
        initialise: called once before, with `arguments`.
        folder: where the driver works, from which relative paths count.
        places: what the node must see as the driver does.
        libraries: the versions of the driver's libraries.
    """

    function: Callable[[Any], Any] | None
    initialise: Callable[..., None] | None
    arguments: tuple[Any, ...]
    folder: str
    places: tuple[Place, ...]
    libraries: dict[str, str]

    def work(self, task: bytes) -> tuple[Any, RaisedError | None]:
        """Do one task; gives its result, or what was raised."""
        if self.function is None:
            raise RuntimeError("this job has no tasks")
        try:
            return self.function(_unpacked(task)), None
        except Exception as error:  # noqa: BLE001 - whatever a task raises goes to the driver
            return None, RaisedError.of(error)


@dataclass(frozen=True)
class RaisedError:
    """An exception on its way from a worker to the driver.

    Attributes:
        pickled: the exception, where it can be pickled.
        kind, message: its class, and what it says.
        trace: where it was raised.
    """

    pickled: bytes | None
    kind: str
    message: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> RaisedError:
        """Pack an exception up."""
        trace = "".join(traceback.format_exception(error))
        try:
            pickled = pickle.dumps(error)
            _unpacked(pickled)
        except Exception:  # noqa: BLE001 - an exception of any library, whose pickling may do anything
            pickled = None
        return cls(pickled, type(error).__name__, str(error), trace)

    def at(self, where: str) -> Exception:
        """Give the exception again; one of this package says where it was raised.

        Args:
            where: the node, and the task if there is one, in words.
        """
        error = None if self.pickled is None else _unpacked(self.pickled)
        if isinstance(error, TaemiError) and len(error.args) == 1:
            error.args = (f"{where}: {error}",)
        elif not isinstance(error, Exception):
            error = BackendError(f"{where}: {self.kind}: {self.message}")
        error.__cause__ = RuntimeError(f"raised by a worker, {where}:\n{self.trace}")
        return error


def _unpacked(packed: bytes) -> Any:
    """What the driver of this very cluster packed, or a worker of it: whoever may send there may run anything."""
    return pickle.loads(packed)  # noqa: S301


def libraries() -> dict[str, str]:
    """The versions of what computes features here."""
    found = {}
    for name in _COMPUTING:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def open_job(packed: bytes, node: str) -> tuple[Job | None, dict[str, Any]]:
    """Prepare a job in a worker.

    Args:
        packed: a `Job`.
        node: what messages call this node.

    Returns:
        The job, and what the driver shall know: "problem" where the node is not fit for it, "error" where something was
        raised, "remark" where results may differ a little.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's: it ends its workers when they are done
    try:
        job: Job = _unpacked(packed)
    except Exception as error:  # noqa: BLE001 - as in a task
        return None, {"error": RaisedError.of(error)}
    if (problem := _problem(job, node)) is not None:
        return None, {"problem": problem}
    try:
        if job.initialise:
            job.initialise(*job.arguments)
    except Exception as error:  # noqa: BLE001 - as in a task
        return None, {"error": RaisedError.of(error)}
    _take_one_core()
    return job, {"remark": _remark(job, node)}


def _problem(job: Job, node: str) -> str | None:
    """Why this node cannot do the job as the driver could."""
    try:
        os.chdir(job.folder)
    except OSError:
        return (
            f"node {node} has no {job.folder}, where this command was started: start it in a folder that every node has"
        )
    return next(filter(None, (place.problem(node) for place in job.places)), None)


def _remark(job: Job, node: str) -> str | None:
    """Which libraries compute in other versions here."""
    here = libraries()
    other = [
        f"{name} {here.get(name, 'none')} ({version} here)"
        for name, version in job.libraries.items()
        if here.get(name) != version
    ]
    return f"node {node} has {', '.join(other)}: results may differ in their last bits" if other else None


def _take_one_core() -> None:
    """Let libraries that have threads of their own do without them, where the job has imported any."""
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
