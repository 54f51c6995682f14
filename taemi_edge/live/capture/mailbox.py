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
        absent_reason: why there are no rows before anybody sends any; None where somebody else knows.

    Attributes:
        loss: why no rows can come at the moment; None while they can.
        ended: whether no rows will ever come again.
        late: rows that were left out because younger ones had already been taken; they count as dropped, too.

    Example:
        >>> box = RowBox(2, keep_s=5.0, absent_reason="nobody has sent imu yet")
        >>> box.put(0.1, (1.0, 2.0))
        >>> box.put_rows(np.array([0.6, 0.4]), np.array([[3.0, 4.0], [5.0, 6.0]], np.float32))
        >>> [values.rows.tolist() for values in box.take(0.5)[0]]
        [[[1.0, 2.0], [5.0, 6.0]]]
    """

    #: So many rows are kept at most, however fast they come.
    MOST_ROWS = 100_000

    def __init__(self, channels: int, keep_s: float, absent_reason: str | None) -> None:
        self.channels, self.keep_s = channels, keep_s
        self._lock = threading.Lock()
        self._pieces: deque[Values] = deque()
        self._count = 0
        self._newest_s = self._taken_s = -np.inf
        self._in_order = True
        self._fault: str | None = None
        self.loss = absent_reason
        self.ended = False
        self.dropped = self.late = 0

    def __len__(self) -> int:
        return self._count

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
            self._add(np.array([time_s], np.float64), np.array([row], np.float32))

    def put_rows(self, times_s: Array, rows: Array) -> None:
        """Add rows in any order. Those with NaN or infinity are left out and said, those that come too late counted.

        Args:
            times_s: float64 (n,), in seconds of the session.
            rows: float32 (n, channels).
        """
        finite = np.isfinite(rows).all(axis=1)
        all_finite = bool(finite.all())
        if not all_finite:
            times_s, rows = times_s[finite], rows[finite]
        with self._lock:
            if not all_finite:
                self._fault = "NaN in its values"
            in_time = times_s >= self._taken_s
            if not in_time.all():
                late = int(len(times_s) - np.count_nonzero(in_time))
                self.late += late
                self.dropped += late
                times_s, rows = times_s[in_time], rows[in_time]
            if len(times_s):
                self._add(times_s, rows)

    def take(self, end_s: float) -> tuple[list[Values], str | None]:
        """Take the rows up to `end_s`, in the order of time."""
        with self._lock:
            fault, self._fault = self._fault, None
            if not self._in_order:
                self._sort()
            taken = []
            while self._pieces and self._pieces[0].times_s[0] <= end_s:
                piece = self._pieces.popleft()
                stop = int(np.searchsorted(piece.times_s, end_s, side="right"))
                taken.append(Values(piece.times_s[:stop], piece.rows[:stop]))
                if stop < len(piece.times_s):
                    self._pieces.appendleft(Values(piece.times_s[stop:], piece.rows[stop:]))
            if taken:
                joined = _joined(taken)
                self._count -= len(joined.times_s)
                self._taken_s = float(joined.times_s[-1])
                return [joined], fault
        return [], fault

    def _add(self, times_s: Array, rows: Array) -> None:
        """Add rows under the lock; of too many the oldest are thrown away."""
        if len(times_s) > 1 and (np.diff(times_s) < 0).any():
            order = np.argsort(times_s, kind="stable")
            times_s, rows = times_s[order], rows[order]
        newest_s = float(times_s[-1])
        self._in_order = self._in_order and bool(times_s[0] >= self._newest_s)
        self._newest_s = max(self._newest_s, newest_s)
        self._pieces.append(Values(times_s, rows))
        self._count += len(times_s)
        oldest_s = newest_s - self.keep_s
        while self._pieces and (self._pieces[0].times_s[0] < oldest_s or self._count > self.MOST_ROWS):
            first = self._pieces.popleft()
            more = max(self._count - self.MOST_ROWS, 0)
            old = max(int(np.searchsorted(first.times_s, oldest_s)), min(more, len(first.times_s)))
            self._count -= old
            self.dropped += old
            if old < len(first.times_s):
                self._pieces.appendleft(Values(first.times_s[old:], first.rows[old:]))

    def _sort(self) -> None:
        """Bring what waits into the order of time; rows of the same time stay as they came."""
        waiting = _joined(self._pieces)
        order = np.argsort(waiting.times_s, kind="stable")
        self._pieces = deque([Values(waiting.times_s[order], waiting.rows[order])])
        self._in_order = True


def _joined(pieces: Sequence[Values]) -> Values:
    """One piece of several."""
    if len(pieces) == 1:
        return pieces[0]
    return Values(np.concatenate([piece.times_s for piece in pieces]), np.concatenate([piece.rows for piece in pieces]))
