"""The places where data waits until the loop fetches it each hop: one box for each stream of a source.

A box never grows: where the loop is slow, the newest data stays and the oldest is thrown away and counted. Boxes are
safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.media.hops import Frame, FrameGrid, SoundPiece, Values, take_frames, take_sound


class StreamBox(Protocol):
    """Where the data of one stream waits.

    Attributes:
        dropped: how many pieces nobody fetched in time.
    """

    dropped: int

    def take(self, end_s: float) -> tuple[list[Any], str | None]:
        """Take what lies at or before `end_s`, and why other data could not be used; None where there was none."""
        ...


class FrameBox:
    """Keeps the newest seconds of a stream's pictures.

    Args:
        frames_per_second: how many frames are kept of each second; None keeps all.
        keep_s: frames that are older than this when a new one comes are thrown away; may be changed at any time.

    Example:
        >>> box = FrameBox(5.0, keep_s=2.0)
        >>> for time_s in (0.0, 0.08, 0.24, 0.4):
        ...     box.put(Frame(time_s, np.zeros((2, 2, 3), np.uint8)))
        >>> [frame.time_s for frame in box.take(0.3)[0]], box.newest.time_s
        ([0.0, 0.24], 0.4)
    """

    def __init__(self, frames_per_second: float | None, keep_s: float) -> None:
        self._grid = FrameGrid(frames_per_second) if frames_per_second else None
        self.keep_s = keep_s
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        #: The newest frame, for the page; it stays until there is a newer one.
        self.newest: Frame | None = None
        self.dropped = 0

    def put(self, frame: Frame) -> None:
        """Add a frame, which is newer than those before."""
        with self._lock:
            self.newest = frame
            if self._grid is not None and not self._grid.wants(frame.time_s):
                return
            self._frames.append(frame)
            while self._frames[0].time_s < frame.time_s - self.keep_s:
                self._frames.popleft()
                self.dropped += 1

    def take(self, end_s: float) -> tuple[list[Frame], str | None]:
        """Take the frames up to `end_s`."""
        with self._lock:
            return take_frames(self._frames, end_s), None


class SoundBox:
    """Keeps the newest seconds of a stream's sound.

    Args:
        rate_hz: the rate of the sound that is put in.
        keep_s: sound that is older than this when new sound comes is thrown away.

    Example:
        >>> box = SoundBox(16_000, keep_s=5.0)
        >>> box.put(SoundPiece(0.0, np.zeros(16_000, np.float32)))
        >>> [len(piece.values) for piece in box.take(0.75)[0]]
        [12000]
    """

    def __init__(self, rate_hz: int, keep_s: float) -> None:
        self.rate_hz, self.keep_s = rate_hz, keep_s
        self._lock = threading.Lock()
        self._pieces: deque[SoundPiece] = deque()
        self._fault: str | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def put(self, piece: SoundPiece) -> None:
        """Add a piece of sound, which follows those before."""
        with self._lock:
            self._pieces.append(piece)
            while self._pieces[0].time_s < piece.time_s - self.keep_s:
                self._pieces.popleft()
                self.dropped += 1

    def put_fault(self, reason: str) -> None:
        """Note why sound that came cannot be used."""
        with self._lock:
            self._fault = reason

    def take(self, end_s: float) -> tuple[list[SoundPiece], str | None]:
        """Take the sound up to `end_s`; a piece that goes beyond is cut, and its rest stays."""
        with self._lock:
            fault, self._fault = self._fault, None
            return take_sound(self._pieces, end_s, self.rate_hz), fault


class RowBox:
    """Keeps the newest seconds of a series' rows.

    Args:
        channels: how many numbers a row has.
        keep_s: rows that are older than this when a new one comes are thrown away.
        absent_reason: why there are no rows before anybody sends any.

    Attributes:
        loss: why no rows can come at the moment; None while they can.
        ended: whether no rows will ever come again.

    Example:
        >>> box = RowBox(2, keep_s=5.0, absent_reason="nobody has sent imu yet")
        >>> box.put(0.1, (1.0, 2.0))
        >>> box.put(0.6, (3.0, 4.0))
        >>> [values.rows.tolist() for values in box.take(0.5)[0]]
        [[[1.0, 2.0]]]
    """

    #: So many rows are kept at most, however fast they come.
    MOST_ROWS = 100_000

    def __init__(self, channels: int, keep_s: float, absent_reason: str) -> None:
        self.channels, self.keep_s = channels, keep_s
        self._lock = threading.Lock()
        self._rows: deque[tuple[float, Sequence[float]]] = deque()
        self._newest_s = -np.inf
        self._fault: str | None = None
        self.loss: str | None = absent_reason
        self.ended = False
        self.dropped = 0

    def put(self, time_s: float, row: Sequence[float]) -> None:
        """Add a row.

        Raises:
            ValueError: it has another number of values, one of them is no number, or it is older than the last.
        """
        if len(row) != self.channels:
            raise ValueError(f"expected {self.channels} values, got {len(row)}")
        if not np.isfinite(row).all():
            with self._lock:
                self._fault = "NaN in its values"
            raise ValueError("expected finite numbers, got NaN or infinity")
        with self._lock:
            if time_s < self._newest_s:
                raise ValueError(
                    f"expected no time before {self._newest_s:.3f} s, that of the line before, got {time_s:.3f} s"
                )
            self._newest_s = time_s
            self._rows.append((time_s, row))
            while self._rows[0][0] < time_s - self.keep_s or len(self._rows) > self.MOST_ROWS:
                self._rows.popleft()
                self.dropped += 1

    def take(self, end_s: float) -> tuple[list[Values], str | None]:
        """Take the rows up to `end_s`."""
        with self._lock:
            taken = []
            while self._rows and self._rows[0][0] <= end_s:
                taken.append(self._rows.popleft())
            fault, self._fault = self._fault, None
        if not taken:
            return [], fault
        times_s: Array = np.array([time_s for time_s, _ in taken], np.float64)
        return [Values(times_s, np.array([row for _, row in taken], np.float32))], fault
