"""What runs in an actor of a cluster. Its code is sent along, so that a node without taemi-edge can say so itself.

For that the class is made inside a function, and all that it needs is imported inside its methods: Ray sends such a
class by its code, and any other one by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def identity_function() -> Callable[[], dict[str, str]]:
    """Make the function that says what the machines of a cluster must have in common."""

    def identity() -> dict[str, str]:
        """What the machines of a cluster must have in common: Python, this package, and its very source."""
        import hashlib
        import importlib.util
        import pathlib
        import platform

        found = {"Python": ".".join(platform.python_version_tuple()[:2])}
        spec = importlib.util.find_spec("taemi_edge")
        if spec is None or spec.origin is None:
            return found
        import taemi_edge

        found["taemi-edge"] = taemi_edge.__version__
        digest = hashlib.sha256()
        folder = pathlib.Path(spec.origin).parent
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
        found["source of taemi-edge"] = digest.hexdigest()[:12]
        return found

    return identity


def worker_class() -> type:
    """Make the class whose instances are the actors."""
    identity = identity_function()

    class Worker:
        """Compares its node with the driver's machine, prepares a job, and does its tasks one after the other."""

        def __init__(self) -> None:
            import os

            # before NumPy and ONNX Runtime are imported: workers share the cores of a node
            for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"):
                os.environ[f"{library}_NUM_THREADS"] = "1"
            self.job: Any = None

        def set_up(self, wanted: dict[str, str], job: bytes) -> dict[str, Any]:
            """Prepare for a job; gives where this is, and why it cannot be done here, if so."""
            import os

            import ray

            context = ray.get_runtime_context()
            here: dict[str, Any] = {
                "node": str(ray.util.get_node_ip_address()),  # type: ignore[no-untyped-call]
                "node_id": context.get_node_id(),
                "pid": os.getpid(),
                "nice": os.nice(0),
            }
            name = here["node"]
            found = identity()
            for what, want in wanted.items():
                if found.get(what) != want:
                    got = found.get(what) or "none"
                    here["problem"] = (
                        f"node {name} has {what} {got}, expected {want} as here: install the same {what} there"
                    )
                    return here
            from taemi_edge.scale.clusters.jobs import open_job

            self.job, told = open_job(job, name)
            return here | told

        def work(self, task: bytes) -> tuple[Any, Any]:
            """Do a task; gives its result, or what was raised instead."""
            return self.job.work(task)  # type: ignore[no-any-return]

    return Worker
