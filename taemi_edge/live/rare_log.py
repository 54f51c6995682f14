"""Log lines that whoever sends us data can set off, as often as they like: each kind is written now and then only."""

from __future__ import annotations

import logging
import threading
import time

#: Lines of one kind are this far apart at least, in seconds.
EVERY_S = 30.0
_MOST_KINDS = 256


class RareLog:
    """Writes at most one line of a kind in `every_s` seconds, with the number of those that were left out since.

    May be used from any thread.

    Args:
        logger: where the lines go.
        every_s: the shortest time between two lines of a kind.

    Example:
        >>> log = RareLog(logging.getLogger("taemi_edge.doctest"), every_s=60.0)
        >>> [log.warning("a line was bad: %s", why) for why in ("no JSON", "too long", "no JSON")]
        [True, False, False]
    """

    def __init__(self, logger: logging.Logger, every_s: float = EVERY_S) -> None:
        self._logger, self._every_s = logger, every_s
        self._lock = threading.Lock()
        #: By kind: when its last line was written, and how many were left out since.
        self._kinds: dict[str, tuple[float, int]] = {}

    def warning(self, message: str, *values: object) -> bool:
        """Write a warning, if its time has come; the message without its values is the kind."""
        left_out = self.left_out(message)
        if left_out is None:
            return False
        more = f" (and {left_out} more times since the last such line)" if left_out else ""
        self._logger.warning(message + more, *values)
        return True

    def left_out(self, kind: str) -> int | None:
        """How many lines of a kind were left out since its last one; None where it is too soon for another."""
        now_s = time.monotonic()
        with self._lock:
            last_s, left_out = self._kinds.get(kind, (-self._every_s, 0))
            if now_s - last_s < self._every_s:
                self._kinds[kind] = (last_s, left_out + 1)
                return None
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            self._kinds[kind] = (now_s, 0)
        return left_out
