"""What a benchmark compares, and how: `BenchOptions`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from taemi_edge.bench.worker import ContenderName
from taemi_edge.errors import UsageError, expected_one_of
from taemi_edge.export.user_code import names_a_function
from taemi_edge.runtime.sessions import Device

#: What a bundle can be compared with.
RIVALS: tuple[ContenderName, ...] = tuple(name for name in get_args(ContenderName) if name != "runtime")
#: How many turns each thing is timed in; in every turn each contender has its share of the runs.
TURNS = 5


@dataclass(frozen=True)
class BenchOptions:
    """What to compare, and how.

    Attributes:
        against: the rivals; None takes those that can run here.
        python: the interpreter that runs the rivals.
        checkpoint: what PyTorch runs, where it is TAEMI; by default what the bundle was exported from.
        model: what PyTorch runs, where the model is declared: `file.py:function`, whose code is run.
        data: the corpus that a rival's own INT8 is calibrated on.
        batches: batches beside 1 at which a part is timed, by part.
        all_patterns: time every presence pattern, and not only the complete one, those without one stream, and none.
        sources: how many sources share a call, one count after another.
        runs: how often each contender runs each thing.
        threads: threads for each part; 0 takes all cores.
        device: where the bundle runs; None takes what it was built for.
        unverified: also time engines that parity has not passed.

    Raises:
        UsageError: a number is too small, both a model and a checkpoint are given, or the model names no function.

    Example:
        >>> BenchOptions(runs=10, batches={"vision": (4, 8)}).sources
        (1, 2, 4)
    """

    against: tuple[ContenderName, ...] | None = None
    python: str = sys.executable
    checkpoint: str | None = None
    model: str | None = None
    data: Path | None = None
    batches: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    all_patterns: bool = False
    sources: tuple[int, ...] = (1, 2, 4)
    runs: int = 50
    threads: int = 1
    device: Device | None = None
    unverified: bool = False

    def __post_init__(self) -> None:
        if self.runs < TURNS:
            raise UsageError(f"--runs {self.runs}: expected at least {TURNS}")
        if bad := [n for n in self.sources if n < 1]:
            raise UsageError(f"--sources {bad[0]}: expected numbers of at least 1")
        if self.model is not None and self.checkpoint is not None:
            raise UsageError("--model and --checkpoint: expected one of the two, got both")
        if self.model is not None and not names_a_function(self.model):
            raise UsageError(f"--model {self.model}: expected FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION")

        if self.data is not None and "openvino-int8" not in (self.against or ()):
            raise UsageError("--data: expected --against openvino-int8 beside it, which is calibrated on a corpus")

    def require_parts(self, parts: Sequence[str]) -> None:
        """Refuse batches of parts that the model does not have.

        Args:
            parts: the names of the model's parts.

        Raises:
            UsageError: a part is not known.
        """
        if unknown := sorted(set(self.batches) - set(parts)):
            raise UsageError(f"--batch {unknown[0]}=N: expected one of {', '.join(parts)}")


def rivals_from(names: Sequence[str]) -> tuple[ContenderName, ...] | None:
    """The rivals that `--against` names.

    Returns:
        None where no names are given, an empty tuple for "none".

    Raises:
        UsageError: a name is not known.

    Example:
        >>> rivals_from(["torch-eager", "onnxruntime-cpu"])
        ('onnxruntime-cpu', 'torch-eager')
    """
    if unknown := [name for name in names if name not in (*RIVALS, "none")]:
        raise UsageError(f"--against {expected_one_of((*RIVALS, 'none'), unknown[0])}")
    return tuple(name for name in RIVALS if name in names) if names else None
