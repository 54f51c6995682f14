"""A hop after its costly preparation, which may happen in a thread of the source's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taemi_edge.runtime.work import Stopwatch


@dataclass(frozen=True, eq=False)
class PreparedHop:
    """A hop whose pieces were prepared: faces were found, sound was cut.

    Attributes:
        end_s: where the hop ends.
        prepared: what the kind of each stream made of its pieces, by stream. Of a lazily prepared hop each face is
            found when its crop is taken.
        watch: the times of the hop's parts; it goes with the hop to its prediction.
        started_s: when the preparation began, on `time.perf_counter`.
        faults: why some of a stream's data could not be used, by stream.
        losses: streams that are known to be gone at the hop's end, each with the reason.
        held: the last batch of each stream, which is encoded together with the window.
    """

    end_s: float
    prepared: Mapping[str, Any]
    watch: Stopwatch
    started_s: float
    faults: Mapping[str, str] = field(default_factory=dict)
    losses: Mapping[str, str] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
