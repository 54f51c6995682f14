"""How busy a machine was while it was timed: figures of a busy machine are noise, and are marked so.

Three things tell. What share of the processor's time other processes took, counted by the kernel. What the machine
already carried when the benchmark began. And how far the turns of one and the same thing lie apart: each is timed in
several turns, which agree on a quiet machine.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from taemi_edge.bundle.values import Frozen

#: Above these, figures are noise. A quarter between turns is more than what most contenders differ by. A sixth of the
#: processor is one of six cores, or a third of one of two.
MOST_BY_OTHERS, MOST_SPREAD, MOST_LOAD = 0.15, 0.25, 0.75
#: A part that is faster than the measured limit says that the limit was measured while the machine was slower.
MOST_SHARE = 1.0
#: Shorter measurements count too few ticks of the kernel's clock (10 ms each).
_LEAST_S = 0.5


class Noise(Frozen, frozen=True):
    """How busy a machine was.

    Attributes:
        busy: whether the figures are noise.
        reasons: why, in words.
        by_others: the share of all cores' time that other processes took, from 0 to 1; None where it is not told.
        load: processes that wanted to run when the benchmark began, for each core (the load average of a minute).
        spread: how far the slowest turn of a thing lies above its fastest one, the median over all things; None where
            nothing was timed in turns.
        switches_per_s: how often a second a process of the benchmark had to give its core away.
    """

    busy: bool
    reasons: tuple[str, ...]
    by_others: float | None
    load: float | None
    spread: float | None = None
    switches_per_s: float | None = None

    @property
    def in_words(self) -> str:
        """One sentence for tables and pictures; empty where the machine was quiet."""
        if not self.busy:
            return ""
        return f"the machine was busy ({'; '.join(self.reasons)}), so these figures are noise: take them on a quiet one"


class NoiseMeter:
    """Watches the machine from when it is made until its report is asked for.

    Ask once all processes of the benchmark have ended: only then are their times known.

    Example:
        >>> meter = NoiseMeter()
        >>> meter.report([[1.0, 1.1]]).spread
        0.1
    """

    def __init__(self) -> None:
        self._began_s, self._busy_s, self._own = time.monotonic(), _busy_s(), _own()
        try:
            self._load: float | None = os.getloadavg()[0] / (os.cpu_count() or 1)
        except OSError:
            self._load = None

    def report(self, turns: Iterable[Sequence[float]] = (), shares: Iterable[float | None] = ()) -> Noise:
        """How busy the machine was.

        Args:
            turns: for each thing that was timed, the median of each of its turns.
            shares: the shares of a limit that parts reached; none is above 1 on a quiet machine.
        """
        passed_s, (own_s, switches) = time.monotonic() - self._began_s, _own()
        cores, busy_s = os.cpu_count() or 1, _busy_s()
        others = None
        if busy_s is not None and self._busy_s is not None and passed_s >= _LEAST_S:
            taken_s = busy_s - self._busy_s - (own_s - self._own[0])
            others = round(min(1.0, max(0.0, taken_s / (passed_s * cores))), 3)
        return judged(
            by_others=others,
            load=None if self._load is None else round(self._load, 2),
            spread=spread_of(turns),
            switches_per_s=round((switches - self._own[1]) / max(passed_s, 1e-9), 1),
            share=max((share for share in shares if share is not None), default=None),
        )


def judged(
    by_others: float | None,
    load: float | None,
    spread: float | None = None,
    switches_per_s: float | None = None,
    share: float | None = None,
) -> Noise:
    """Decide whether figures are noise.

    >>> judged(by_others=0.02, load=0.1, spread=0.04).busy, judged(by_others=0.48, load=0.1).reasons
    (False, ('other processes took 48% of its cores',))
    """
    reasons = []
    if by_others is not None and by_others > MOST_BY_OTHERS:
        reasons.append(f"other processes took {by_others:.0%} of its cores")
    if load is not None and load > MOST_LOAD:
        reasons.append(f"{load:.1f} processes wanted each core at the start")
    if spread is not None and spread > MOST_SPREAD:
        reasons.append(f"turns of one thing lie {spread:.0%} apart")
    if share is not None and share > MOST_SHARE:
        reasons.append(f"a part took {1 / share:.0%} of the least time that was measured for it")
    return Noise(bool(reasons), tuple(reasons), by_others, load, spread, switches_per_s)


def spread_of(turns: Iterable[Sequence[float]]) -> float | None:
    """How far the slowest turn lies above the fastest one, the median over all things; None where there are no turns.

    >>> spread_of([[1.0, 1.1], [2.0, 2.0, 3.0], [1.0, 1.2]])
    0.2
    """
    apart = sorted(max(each) / min(each) - 1 for each in turns if len(each) > 1 and min(each) > 0)
    return round(apart[len(apart) // 2], 3) if apart else None


def _own() -> tuple[float, int]:
    """Seconds of processor time of this process and its ended children, and how often they had to give a core away."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used), sum(u.ru_nivcsw for u in used)


def _busy_s() -> float | None:
    """Seconds in which cores of this machine worked, as the kernel counts them; None where it does not say."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        ticks = [int(word) for word in words[1:9]]  # user, nice, system, idle, iowait, irq, softirq, steal
    except (OSError, ValueError):
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") if len(ticks) == 8 else None
