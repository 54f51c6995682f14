"""What watches a run over files hop by hop, beside the lines that the run writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from taemi_edge.media.faces import Face
from taemi_edge.media.file_source import FileSource
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


def begin_viewing(
    viewer: HopViewer | None, files: Sequence[FileSource], sources: Sequence[Source], window_s: float, hop_s: float
) -> None:
    """Tell a viewer, where there is one, what a run is of; a recording says when its time 0 was.

    Args:
        viewer: what is told.
        files: those of each source.
        sources: as they are described to the runtime.
        window_s, hop_s: how far back a prediction looks and how often one is made, in seconds.
    """
    if viewer is not None:
        origins = {recording.origin_ns for file in files for recording in file.recordings}
        viewer.begin(sources, window_s, hop_s, origins.pop() if len(origins) == 1 else None)
