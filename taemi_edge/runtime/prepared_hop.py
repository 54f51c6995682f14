"""A hop after its costly preparation, which may happen in a thread of the source's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from taemi_edge.bundle.spec import Modality
from taemi_edge.media.chunks import Segment
from taemi_edge.media.crops import FaceCrop
from taemi_edge.media.transcripts import Word
from taemi_edge.runtime.work import Stopwatch


@dataclass(frozen=True, eq=False)
class PreparedHop:
    """A hop whose faces were found and whose sound was cut.

    Attributes:
        end_s: where the hop ends.
        crops: its face crops; a lazily prepared hop finds each face when its crop is taken.
        segments: its whole chunks of sound.
        audio_fault: why sound of this hop could not be used; None where it could.
        watch: the times of the hop's parts; it goes with the hop to its prediction.
        started_s: when the preparation began, on `time.perf_counter`.
        losses: streams that are known to be gone at the hop's end, each with the reason.
        words: words that were recognised since the last hop, in the order of time.
    """

    end_s: float
    crops: Iterator[FaceCrop]
    segments: list[Segment]
    audio_fault: str | None
    watch: Stopwatch
    started_s: float
    losses: Mapping[Modality, str] = field(default_factory=dict)
    words: tuple[Word, ...] = ()
