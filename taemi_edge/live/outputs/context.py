"""What an output needs to open itself: the configuration, the running loop, and the places to register at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from taemi_edge.bundle.streams import VideoSpec
from taemi_edge.errors import UsageError
from taemi_edge.live.config import LiveConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.outputs.output import Output
from taemi_edge.live.outputs.threaded import ThreadedOutput

#: So many hops of every source wait for an output that works in a thread of its own.
_MOST_HOPS = 16


@dataclass(frozen=True)
class OutputContext:
    """Passed to every `open_...` function of `taemi_edge.live.outputs`.

    Attributes:
        stack: closes what is entered into it when the run ends, the last one first.
        config: the configuration of the run.
        state: the running loop, with its outputs and counters.
        on_serving: called with the page's address once it is served.
    """

    stack: ExitStack
    config: LiveConfig
    state: LiveState
    on_serving: Callable[[str], None]

    def require_picture(self, option: str) -> None:
        """Refuse an output that draws into the picture where the model reads no video.

        Raises:
            UsageError: it reads none.
        """
        streams = self.state.manifest.streams
        if not any(isinstance(spec, VideoSpec) for spec in streams.values()):
            raise UsageError(f"{option}: expected a model with a video stream, got one with {', '.join(streams)}")

    def add(self, output: Output) -> None:
        """Give an output every hop and event from now on, and close it when the run ends."""
        self.stack.callback(output.close)
        self.state.loop.outputs.append(output)

    def add_in_thread(self, output: Output, name: str) -> None:
        """Do the same for an output that may take long, in a thread of its own; count the hops it misses."""
        threaded = ThreadedOutput(output, name, most=_MOST_HOPS * max(1, len(self.state.loop.sources)))
        self.add(threaded)
        self.count(f"{name} moments left out", lambda: threaded.left_out)

    def count(self, name: str, value: Callable[[], int]) -> None:
        """Show a count of an output in the summary of the run and in /metrics."""
        self.state.counters[name] = value
