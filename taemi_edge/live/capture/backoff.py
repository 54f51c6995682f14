"""How long to wait before a failed connection is tried again: exponential, with jitter, up to a cap."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from `first_s`, each varied by a fifth so that many sources do not connect at once.

    Args:
        first_s: the first wait, in seconds.
        chance: where the variation comes from.

    Example:
        >>> backoff = Backoff(0.25, random.Random(1))
        >>> waits = [backoff.next_s(cap_s=1.0) for _ in range(4)]
        >>> [round(wait, 1) for wait in waits]
        [0.2, 0.6, 1.1, 0.9]
    """

    def __init__(self, first_s: float, chance: random.Random | None = None) -> None:
        self._first_s = self._wait_s = first_s
        self._chance = chance or random.Random()  # noqa: S311  jitter is no secret

    def next_s(self, cap_s: float) -> float:
        """How many seconds to wait now; `cap_s` is the most for this kind of failure, before the variation."""
        wait_s = min(self._wait_s, cap_s)
        self._wait_s = min(self._wait_s * 2, 3600.0)
        return wait_s * self._chance.uniform(0.8, 1.2)

    def reset(self) -> None:
        """Begin again with the first wait, after a success."""
        self._wait_s = self._first_s
