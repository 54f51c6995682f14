"""How the parts of a hop share a processor: threads, lanes, and how many inputs a call takes.

`build-engine` measures it where it builds (`taemi_edge.engines.host_plans`), and the manifest keeps it as a plan. A
number of threads that the user gives wins over the plan.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.limits import MOST_THREADS
from taemi_edge.bundle.records import HostPlan
from taemi_edge.bundle.values import HEAD
from taemi_edge.errors import UsageError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.runtime.cores import usable_cores
from taemi_edge.runtime.sessions import Device

log = logging.getLogger("taemi_edge.runtime.threads")


@dataclass(frozen=True)
class HostWay:
    """One way to run the parts of a hop.

    Attributes:
        threads: of each part.
        lanes: how many calls of encoders run at the same time.
        pinned: whether each lane keeps to a core of its own.
        largest: how many inputs a part takes in one call, where it is not the usual number.
    """

    threads: Mapping[str, int] = field(default_factory=dict)
    lanes: int = 1
    pinned: bool = False
    largest: Mapping[str, int] = field(default_factory=dict)

    def most(self, part: str) -> int:
        """How many inputs a part takes in one call; the head takes the windows of all sources."""
        return self.largest.get(part, 1 << 30 if part == HEAD else MAX_BATCH)


def require_threads(threads: int | None) -> None:
    """Refuse what is no number of threads; None stands for those of a plan.

    Raises:
        UsageError: it is none.
    """
    if threads is not None and (not isinstance(threads, int) or not 0 <= threads <= MOST_THREADS):
        raise UsageError(f"expected a number of threads from 0 to {MOST_THREADS}, got {threads!r}: 0 takes all cores")


def way_of(bundle: Bundle, device: Device, threads: int | None) -> HostWay:
    """How the sessions of a bundle run on this machine.

    Args:
        device: where they run; a plan is one for the processor alone, as calls through CUDA share buffers.
        threads: of each part, the parts one after the other; 0 for as many as there are cores, and no more than these.
            None takes the plan of the engines; where there is none, all cores.

    Raises:
        UsageError: `threads` is no number of threads.
    """
    require_threads(threads)
    parts, cores = bundle.manifest.part_names, usable_cores()
    plan = _plan_of(bundle) if device == "cpu" else None
    if plan is None or threads is not None:
        count = _capped(threads or cores, cores)
        return HostWay(dict.fromkeys(parts, count), largest=plan.largest if plan else {})
    wanted = {part: plan.threads.get(part, 1) for part in parts}
    there = max(plan.cores, *wanted.values())
    if there > cores:
        _note(
            f"{bundle.folder}: its engines were built where a process may use {there} cores, here it may use {cores}: "
            f"`taemi-edge build-engine` measures anew how they are best shared"
        )
    counts = {part: min(count, cores) for part, count in wanted.items()}
    each = max(count for part, count in counts.items() if part != HEAD)
    lanes = max(1, cores // each) if plan.side_by_side else 1
    return HostWay(counts, lanes, plan.pinned and lanes > 1, plan.largest)


def _plan_of(bundle: Bundle) -> HostPlan | None:
    """The plan that came with the engines of a bundle; None where there is none."""
    engine = bundle.manifest.engine
    return None if engine is None else engine.host or None


def _capped(threads: int, cores: int) -> int:
    if threads > cores:
        _note(f"{threads} threads are wanted, and this process may use {cores} cores: it takes {cores}")
    return min(threads, cores)


@lru_cache(maxsize=64)
def _note(text: str) -> None:
    """One line in the log, once in a process: a run opens its parts several times."""
    log.warning("%s", text)
