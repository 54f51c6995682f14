"""What an output of a live run is: the protocol, and what it is given each hop.

To add an output, write a module beside this one with a class derived from `BaseOutput` and an `open_...` function, and
name that function in `taemi_edge.live.outputs.opening.OPENERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.load import LoadEvent
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.prediction import Prediction


@dataclass(frozen=True, eq=False)
class HopResult:
    """One hop of one source with the prediction that was made from it.

    Attributes:
        hop: what the streams of the source gave since the hop before.
        prediction: what the model made of the window that ends with this hop.
        faces: where the face is in the newest frame, by video stream; only where there is one.
        words: the words of the whole window, by text stream, in the order of time.
    """

    hop: Hop
    prediction: Prediction
    faces: Mapping[str, Face] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def face_of(result: HopResult) -> Face | None:
    """The face in the picture that `result.hop.frames` shows; None where none was found in it."""
    return result.faces.get(result.hop.shown or "")


class Output(Protocol):
    """A place where predictions and presence events go.

    The loop calls it between two hops, so it must not block: work that takes time belongs in a `ThreadedOutput`.
    `on_event` may also be called from the thread that watches for losses, but never while another `on_event` runs.
    """

    def on_hop(self, result: HopResult) -> None:
        """Take the result of a hop; called once a hop for each source."""

    def on_event(self, event: PresenceEvent) -> None:
        """Take a change of a stream's presence."""

    def on_load(self, event: LoadEvent) -> None:
        """Take that the run leaves out more, or less, than before because of the load; called between two hops."""

    def on_model(self, event: ModelEvent) -> None:
        """Take the news that the run took up another model or refused one; called as `on_event` is."""

    def close(self) -> None:
        """Write what is left; called once, after the last hop."""


class BaseOutput:
    """An output that does nothing; derive from it and override what you need.

    Example:
        >>> class Count(BaseOutput):
        ...     hops = 0
        ...     def on_hop(self, result):
        ...         self.hops += 1
        >>> count = Count()
        >>> count.on_hop(None)
        >>> count.close()
        >>> count.hops
        1
    """

    def on_hop(self, result: HopResult) -> None:
        """Ignore the result of a hop."""

    def on_event(self, event: PresenceEvent) -> None:
        """Ignore a change of presence."""

    def on_load(self, event: LoadEvent) -> None:
        """Ignore a change of the load."""

    def on_model(self, event: ModelEvent) -> None:
        """Ignore another model."""

    def close(self) -> None:
        """Do nothing."""
