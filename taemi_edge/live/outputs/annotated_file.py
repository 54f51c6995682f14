"""Writes the video of a live run with the predicted outputs and the presence of the streams drawn into it."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

from taemi_edge.bundle.spec import Manifest
from taemi_edge.errors import OutputError
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult, face_of
from taemi_edge.runtime.annotate import AnnotatedVideo

log = logging.getLogger("taemi_edge.live")

_FRAMES_PER_SECOND = Fraction(25)


class AnnotatedFile(BaseOutput):
    """Draws into a video file, which is complete when the run ends; a full disk ends the file and not the run.

    Args:
        file: where the video goes; its suffix chooses the container.
        manifest: of the model whose predictions are drawn.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, file: Path, manifest: Manifest) -> None:
        self._video = AnnotatedVideo(file, manifest, _FRAMES_PER_SECOND)
        self._failed = False

    def on_hop(self, result: HopResult) -> None:
        if self._failed:
            return
        self._video.say(result.hop.words)
        try:
            self._video.add(result.hop, result.prediction, face_of(result))
        except OutputError as error:
            self._failed = True
            log.error("the annotated video ends here: %s", error)

    def close(self) -> None:
        self._video.__exit__(None, None, None)


def open_annotated_file(context: OutputContext) -> None:
    """Write the annotated video where `annotate` names a file."""
    if context.config.annotate:
        output = AnnotatedFile(Path(context.config.annotate), context.state.manifest)
        context.add_in_thread(output, "annotated video")
