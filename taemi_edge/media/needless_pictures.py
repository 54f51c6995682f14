"""Which pictures of a file need not be decoded: nobody wants them, and no other picture is made from them.

H.264 marks pictures from which no other is predicted, as most B-frames are. Where a model looks at five frames a
second, most of these are decoded for nothing. Leaving them out changes no other picture.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Any

from taemi_edge.media.hops import FrameGrid

#: Containers in which each packet holds a whole picture; in others it may be a field, half of an interlaced one.
_WHOLE_PICTURES = frozenset(("mov", "mp4", "matroska", "webm"))
#: How FFmpeg is told to decode all pictures, or only those that others are made from.
_ALL, _REFERENCES = "DEFAULT", "NONREF"


class NeedlessPictures:
    """Tells a decoder, before each packet, whether its picture may be left out.

    The picture of a packet is not wanted where a packet before it, in the order of decoding, holds an earlier picture
    of the same slot of every grid: a grid takes the first picture of each slot. Whether other pictures need it, the
    decoder knows. What it leaves out still counts as a picture that came: `passed` gives its time.

    Args:
        container: PyAV's container.
        video: PyAV's stream of its pictures.
        grids: of those who want pictures; all pictures are wanted where there are none.
        start_s: the time of the container that counts as 0.
    """

    def __init__(self, container: Any, video: Any, grids: Sequence[FrameGrid], start_s: float) -> None:
        whole = not _WHOLE_PICTURES.isdisjoint(container.format.name.split(","))
        self.may_leave_out = whole and bool(grids) and video.codec_context.name == "h264"
        self._decoder, self._grids, self._start_s = video.codec_context, grids, start_s
        #: The time of the first picture of each slot, over all grids together, so far.
        self._first_s: dict[tuple[int, ...], float] = {}
        self._left_out: list[float] = []

    def before(self, packet: Any, damaged: bool) -> None:
        """Set the decoder for a packet of pictures.

        Args:
            packet: PyAV's packet, which will be decoded next.
            damaged: whether something could not be decoded before: then each picture may be needed.
        """
        time_s = None if packet.pts is None or packet.is_discard else float(packet.pts * packet.time_base)
        wanted = True
        if time_s is not None and not packet.is_corrupt:
            time_s -= self._start_s
            slots = tuple(grid.slot(time_s) for grid in self._grids)
            wanted = time_s <= self._first_s.get(slots, time_s)
            self._first_s[slots] = min(time_s, self._first_s.get(slots, time_s))
        leave_out = self.may_leave_out and not wanted and not damaged
        self._decoder.skip_frame = _REFERENCES if leave_out else _ALL
        if leave_out and time_s is not None:
            heapq.heappush(self._left_out, time_s)

    def passed(self, until_s: float) -> Iterator[float]:
        """The times of the pictures that were left out, up to that of a picture that was decoded, in order.

        A picture that could not be left out is among them: its time is given here, and comes again with the picture.
        """
        while self._left_out and self._left_out[0] < until_s:
            yield heapq.heappop(self._left_out)
