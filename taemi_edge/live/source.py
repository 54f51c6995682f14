"""One source of a live run: takes a hop from the boxes of its streams, and says which streams are lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox, StreamBox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.replay import SeriesReplay
from taemi_edge.live.words import WordInbox
from taemi_edge.media.content_checks import PictureCheck, SoundCheck
from taemi_edge.media.hops import Hop, SoundPiece

#: Called with the sound of each hop that passed its check.
SoundTap = Callable[[Sequence[SoundPiece]], None]


def kept_for_s(hop_s: float) -> float:
    """How long data waits for its hop before it is thrown away, in seconds."""
    return 2 * hop_s + 1.0


@dataclass
class LiveSource:
    """The streams of one source, which may come from different places.

    Attributes:
        name: the name of the source in predictions.
        captures: what feeds the boxes; each stream is fed by at most one of them.
        boxes: where the data of each stream waits for the next hop, by the stream's name.
        settings: how long frozen and black pictures and digital silence count as good.
        known_until_s: when the last of the words is over that are known beforehand.
        taps: by stream, what is called with the sound of each hop that can be used: the speech recogniser listens here.
        gave: whether anything ever came of it. Words that were known beforehand are not counted, where it has more.
    """

    name: str
    captures: Sequence[Capture]
    boxes: Mapping[str, StreamBox]
    settings: WatchSettings
    known_until_s: float = 0.0
    taps: dict[str, SoundTap] = field(default_factory=dict)
    gave: bool = False

    def __post_init__(self) -> None:
        self._checks: dict[str, PictureCheck | SoundCheck] = {}
        for stream, box in self.boxes.items():
            if isinstance(box, FrameBox | SoundBox):
                self._checks[stream] = (
                    PictureCheck(self.settings) if isinstance(box, FrameBox) else SoundCheck(self.settings)
                )
        #: Boxes that know themselves why nothing comes, and when nothing ever will again.
        self._fed = {s: box for s, box in self.boxes.items() if isinstance(box, RowBox | WordInbox | SeriesReplay)}
        captured = {stream for capture in self.captures for stream in capture.streams}
        #: Streams that show whether it gives anything.
        self._telling = captured or set(self.boxes)
        self._lock = threading.Lock()
        #: Streams that arrive and are useless, each with why, as found with the last hop.
        self._useless: dict[str, str] = {}

    @property
    def pictures(self) -> dict[str, FrameBox]:
        """What can be shown of the source: the pictures of each capture, under its first video stream."""
        shown = [next(iter(capture.spec.streams_of("video")), "") for capture in self.captures]
        return {stream: box for stream in shown if isinstance(box := self.boxes.get(stream), FrameBox)}

    def beside(self, stream: str) -> tuple[str, ...]:
        """The video streams that show the same picture as one, itself among them."""
        capture = next(capture for capture in self.captures if stream in capture.streams)
        return capture.spec.streams_of("video")

    def ended(self, now_s: float) -> bool:
        """Whether nothing new will ever come: all of its files are at their end, or standard input is.

        Where it has files, transcripts and sensors beside them do not keep it alive.
        """
        files = [capture.ended for capture in self.captures if not capture.is_sensor]
        files += [box.ended for box in self._fed.values() if isinstance(box, SeriesReplay)]
        if not files:
            files = [box.ended for box in self._fed.values()] + [capture.ended for capture in self.captures]
        return all(files) and now_s >= (0.0 if files else self.known_until_s)

    def take(self, end_s: float, now_s: float) -> Hop:
        """The hop that ends at `end_s`: what came since the last one, without what is useless.

        Args:
            end_s: the end of the hop, in seconds of the session.
            now_s: the time of the session at this moment, a little later.
        """
        hop = Hop(end_s)
        for stream, box in self.boxes.items():
            pieces, fault = box.take(end_s)
            self.gave = self.gave or (bool(pieces) and stream in self._telling)
            if pieces and stream in self._checks:
                pieces, problem = self._checks[stream].usable(pieces)
                self._judge(stream, problem, now_s)
            hop.pieces[stream] = pieces
            if fault is not None:
                hop.faults[stream] = fault
        for stream, tap in self.taps.items():
            tap(hop.pieces[stream])
        hop.losses = self.losses(now_s)
        return hop

    def set_hop(self, hop_s: float) -> None:
        """Keep what comes as long as hops of another length need it."""
        for box in self.boxes.values():
            if isinstance(box, FrameBox | SoundBox | RowBox):
                box.keep_s = kept_for_s(hop_s)

    def losses(self, now_s: float) -> dict[str, str]:
        """Which streams are lost at this moment, each with why. May be called from any thread."""
        losses: dict[str, str] = {}
        for capture in self.captures:
            losses |= capture.losses(now_s)
        for stream, reason in dict(self._useless).items():
            losses.setdefault(stream, reason)
        for stream, box in self._fed.items():
            if box.loss is not None:
                losses[stream] = box.loss
        return losses

    def watch(self, now_s: float) -> None:
        """Look after the captures; to be called a few times a second."""
        for capture in self.captures:
            capture.watch(now_s)

    def _judge(self, stream: str, problem: str | None, now_s: float) -> None:
        with self._lock:
            if problem is None:
                self._useless.pop(stream, None)
            else:
                self._useless[stream] = problem
        for capture in self.captures:
            if stream in capture.streams:
                capture.suspect(stream, now_s, problem is not None)
