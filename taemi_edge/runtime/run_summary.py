"""What runs over files did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taemi_edge.runtime.prediction import Prediction


@dataclass
class RunSummary:
    """What a run over one file did.

    Attributes:
        predictions: all of them, in the order of time.
        media_s: how much of the file they cover, in seconds.
        wall_s: how long the run took, in seconds.
        damaged_packets: how many packets could not be decoded.
        lost: why the device was given up on the way; None where it was not.
        notes: what was assumed of the files' clocks, a sentence each.
    """

    predictions: list[Prediction] = field(default_factory=list)
    media_s: float = 0.0
    wall_s: float = 0.0
    damaged_packets: int = 0
    lost: str | None = None
    notes: Sequence[str] = ()

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for each second of media; below 1 is faster than live."""
        return self.wall_s / self.media_s if self.media_s else 0.0


@dataclass
class FleetSummary:
    """What a run over several files did.

    Attributes:
        sources: what the run did over each file.
        calls: how many groups of hops were run.
        wall_s: how long the run took, in seconds.
        lost: why the device was given up on the way; None where it was not.
    """

    sources: dict[Path, RunSummary]
    calls: int = 0
    wall_s: float = 0.0
    lost: str | None = None

    @property
    def predictions(self) -> int:
        """How many predictions were made in all."""
        return sum(len(summary.predictions) for summary in self.sources.values())
