"""What watches a run over files hop by hop, beside the lines that the run writes: a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.window import Source


class HopViewer(Protocol):
    """Is shown every hop of a run with its prediction, in the thread of the run."""

    def begin(self, sources: Sequence[Source], window_s: float, hop_s: float, origin_ns: int | None) -> None:
        """Take what the run is of; called once, when all is open and before the first hop.

        Args:
            sources: what is run on.
            window_s, hop_s: how far back a prediction looks and how often one is made, in seconds.
            origin_ns: the wall clock at time 0 of the sources, in nanoseconds since 1970; None where it is not known.
        """

    def show(self, index: int, hop: Hop, prediction: Prediction, faces: Mapping[str, Face]) -> None:
        """Take a hop of one of the sources, its prediction, and the faces in its newest pictures."""
