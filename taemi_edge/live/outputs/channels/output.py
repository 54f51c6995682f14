"""The output that records a run as MCAP and serves it to Foxglove: one set of channels for both.

`open_channels` opens it for a live run, in a thread of its own. `FileRecording` records a run over files, in step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from taemi_edge.bundle.atomic import write_error
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.errors import MissingExtraError
from taemi_edge.live.events import ModelEvent, PresenceEvent
from taemi_edge.live.load import LoadEvent
from taemi_edge.live.outputs.channels.described_run import NS, DescribedRun
from taemi_edge.live.outputs.channels.foxglove_layout import write_layout
from taemi_edge.live.outputs.channels.picture_encoding import PictureSettings
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult
from taemi_edge.live.takeover import model_id
from taemi_edge.live.viewer_config import FoxgloveConfig, McapConfig
from taemi_edge.media.faces import Face
from taemi_edge.media.hops import Hop
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.window import Source

if TYPE_CHECKING:
    from taemi_edge.live.outputs.channels.foxglove_server import FoxgloveServer
    from taemi_edge.live.outputs.channels.mcap_file import McapFile


class ChannelsOutput(BaseOutput):
    """Says hops and events on the channels of a run, and closes the file and the server behind them.

    Encoding takes time: run it in a `ThreadedOutput` beside a live run.

    Args:
        run: the run as it is described.
        mcap: how it is recorded; an empty file records nothing, and its settings hold for pictures all the same.
        foxglove: where it is served; an empty address serves nothing.

    Attributes:
        file: the recording; None where there is none.
        server: None where nothing is served.

    Raises:
        MissingExtraError: foxglove-sdk is not installed.
        OutputError: the recording cannot be written.
        UsageError: the address cannot be served.
    """

    def __init__(self, run: DescribedRun, mcap: McapConfig, foxglove: FoxgloveConfig) -> None:
        wanted = "--record FILE.mcap" if mcap.file else "--foxglove"
        try:
            from foxglove import Context

            from taemi_edge.live.outputs.channels.foxglove_server import FoxgloveServer
            from taemi_edge.live.outputs.channels.mcap_file import McapFile
            from taemi_edge.live.outputs.channels.run_channels import RunChannels
        except ModuleNotFoundError as error:
            raise MissingExtraError("foxglove-sdk", "foxglove", wanted) from error
        self._indices = {source.name: index for index, source in enumerate(run.sources)}
        context = Context()
        settings = PictureSettings(mcap.pictures, mcap.quality, mcap.lossless)
        self._channels = RunChannels(run, settings, context)
        self.file: McapFile | None = None
        self.server: FoxgloveServer | None = None
        with ExitStack() as opened:
            if foxglove.address:
                name, on_watched = run.title, self._channels.want_keys
                self.server = FoxgloveServer(foxglove, name, context, on_watched, mcap.lossless)
                opened.callback(self.server.close)
            if mcap.file:  # last: where something else cannot be opened there is no file
                self.file = McapFile(mcap, context, run.metadata(mcap.lossless), self._channels.want_keys)
            opened.pop_all()

    def on_hop(self, result: HopResult) -> None:
        self.say(self._indices[result.prediction.source], result)

    def say(self, index: int, result: HopResult) -> None:
        """Say a hop of the source of this number; two files of one name are two sources."""
        self._channels.say_hop(index, result)
        if self.file is not None:
            self.file.after_hop()

    def on_event(self, event: PresenceEvent) -> None:
        self._channels.say_event(self._indices[event.source], event)

    def on_load(self, event: LoadEvent) -> None:
        self._channels.say_load(event)

    def on_model(self, event: ModelEvent) -> None:
        self._channels.say_model(event)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        if self.server is not None:
            self.server.close()


def open_channels(context: OutputContext) -> None:
    """Record a live run where `mcap` names a file, serve it where `foxglove` has an address, and write a layout."""
    config, state = context.config, context.state
    mcap, foxglove = config.mcap or McapConfig(), config.foxglove or FoxgloveConfig()
    if not (mcap.file or foxglove.address or foxglove.layout):
        return
    loop = state.loop
    sources = [window.source for window in loop.fleet.windows]
    if foxglove.layout:
        write_layout(Path(foxglove.layout), state.manifest, [source.name for source in sources])
    if not (mcap.file or foxglove.address):
        return
    start_ns = time.time_ns() - round(loop.clock.now_s() * NS)
    window_s = config.window_s or state.manifest.window.length_s
    run = DescribedRun(state.manifest, state.model["id"], window_s, loop.hop_s, sources, start_ns, live=True)
    output = ChannelsOutput(run, mcap, foxglove)
    context.add_in_thread(output, "MCAP" if mcap.file else "Foxglove")
    if (file := output.file) is not None:
        context.count("pauses of the recording", lambda: file.failures)
    if output.server is not None:
        context.on_serving(output.server.url)


@dataclass
class FileRecording:
    """Records a run over files, hop by hop; a context manager. It is a `HopViewer` (`runtime/hop_viewer.py`).

    Nothing is written before the first hop. A disk that is full ends the recording, not the run, and is an error when
    the run has ended. Times count from the beginning of what is run on, where that is known, else from the moment when
    the run began.

    Args:
        bundle: the model.
        config: the file; an empty one records nothing.
        layout: where a layout for Foxglove is written; None for nowhere.

    Raises:
        MissingExtraError: foxglove-sdk is not installed; once all is open.
        OutputError: a file cannot be written; once all is open, or at the end.
    """

    bundle: Bundle
    config: McapConfig
    layout: Path | None = None

    def __post_init__(self) -> None:
        self._output: ChannelsOutput | None = None

    def begin(self, sources: Sequence[Source], window_s: float, hop_s: float, origin_ns: int | None) -> None:
        """Open the file, now that what is run on is open."""
        manifest: Manifest = self.bundle.manifest
        if self.layout is not None:
            write_layout(self.layout, manifest, [source.name for source in sources])
        if not self.config.file:
            return
        start_ns = time.time_ns() if origin_ns is None else origin_ns
        run = DescribedRun(manifest, model_id(self.bundle), window_s, hop_s, sources, start_ns, live=False)
        self._output = ChannelsOutput(run, self.config, FoxgloveConfig())

    def show(self, index: int, hop: Hop, prediction: Prediction, faces: Mapping[str, Face]) -> None:
        """Record a hop."""
        if self._output is not None:
            self._output.say(index, HopResult(hop, prediction, faces))

    def __enter__(self) -> FileRecording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> Any:
        if self._output is None:
            return
        self._output.close()
        problem = None if self._output.file is None else self._output.file.problem
        if problem is not None and error is None:
            raise write_error(Path(self.config.file), problem)
