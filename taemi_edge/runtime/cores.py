"""Says how many processor cores this process may use: of the machine, of its affinity mask and of its control group.

A container often sees all cores of its machine and may use a part of them. Threads beyond that part only wait for each
other. Two hardware threads of one core count once, since matrix products gain nothing from the second.
"""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """How many cores this process may use, at least 1.

    Args:
        root: the folder that stands for "/".
    """
    cores, quota = len(one_of_each_core(root)), _quota(root)
    return max(1, cores if quota >= cores else math.ceil(quota))


def allowed_processors() -> list[int]:
    """The numbers of the processors that this process may run on, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def one_of_each_core(root: Path = Path("/")) -> list[int]:
    """One processor of each core that this process may run on, ascending."""
    first: dict[str, int] = {}
    for processor in allowed_processors():
        first.setdefault(_siblings(root, processor), processor)
    return sorted(first.values())


def _siblings(root: Path, processor: int) -> str:
    """The processors that share a core with one, in the kernel's words; its own number where that is not known."""
    shared = _content(root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return shared or str(processor)


def _quota(root: Path) -> float:
    """How many cores the control groups of this process leave to it; infinite where none sets a limit."""
    return min((_quota_of(folder) for folder in _groups(root)), default=math.inf)


def _groups(root: Path) -> list[Path]:
    """The folders of the control groups that this process belongs to, each with all above it."""
    found: list[Path] = []
    for line in _content(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup"
        for top in (mounted / controllers, mounted / "cpu") if controllers else (mounted,):
            inside = top / place.strip("/")
            # a container may see its own group as the top, and its name in the host's tree all the same
            found += [folder for folder in (inside, *inside.parents) if folder == top or top in folder.parents]
    return list(dict.fromkeys(found))


def _quota_of(group: Path) -> float:
    """How many cores one control group leaves to its processes, in version 2 or 1 of their interface."""
    quota, _, period = _content(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = (_content(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or nothing
        return math.inf
    return cores if cores > 0 else math.inf  # version 1 says -1 where there is no limit


def _content(file: Path) -> str:
    """What a small file says; empty where it cannot be read."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 16).strip()
    except OSError:
        return ""
