"""Slows down whoever guesses at the token, and nobody else; the right token is never refused.

An owner of addresses (`connections.owner_of`) may be wrong a few times. After that, whatever token comes from there is
looked at in its turn, one a second, whether it is right or wrong: so guessing takes a year for each thirty million
tokens, and whoever has the right one waits for some seconds at most. All owners together have a limit as well, which
those that were right before are free of.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: So many wrong tokens cost an owner nothing; one is forgiven every so many seconds.
FREE_EACH, FORGIVEN_EACH_S = 10, 10.0
FREE_ALL, FORGIVEN_ALL_S = 50, 1.0
#: The time between two tokens that are looked at, of one owner and of all, once the free ones are used up.
TURN_EACH_S, TURN_ALL_S = 1.0, 0.1
_MOST_OWNERS = 1024
_LOOK_EVERY_S = 0.05


@dataclass
class Allowance:
    """How often somebody may still be wrong.

    Args:
        most: after so many wrong tokens, turns are `turn_s` apart.
        forgiven_s: one of them is forgiven after this time.
        turn_s: the time between two turns.

    Example:
        >>> allowance = Allowance(most=2, forgiven_s=10.0, turn_s=1.0)
        >>> for _ in range(3):
        ...     allowance.note_wrong(now_s=0.0)
        >>> allowance.is_used_up(5.0), allowance.is_used_up(10.0)
        (True, False)
    """

    most: int
    forgiven_s: float
    turn_s: float
    wrong: float = 0.0
    next_turn_s: float = 0.0
    _at_s: float = 0.0

    def note_wrong(self, now_s: float) -> None:
        """Count a wrong token."""
        self.wrong = min(self._left_over(now_s) + 1, self.most)
        self._at_s = now_s

    def is_used_up(self, now_s: float) -> bool:
        """Whether the next token has to wait for its turn."""
        return self._left_over(now_s) > self.most - 1

    def take_turn(self, now_s: float) -> None:
        """Note that a token is looked at."""
        self.next_turn_s = now_s + self.turn_s

    def _left_over(self, now_s: float) -> float:
        return max(0.0, self.wrong - (now_s - self._at_s) / self.forgiven_s)


@dataclass(eq=False)
class _Owner:
    allowance: Allowance = field(default_factory=lambda: Allowance(FREE_EACH, FORGIVEN_EACH_S, TURN_EACH_S))
    line: deque[object] = field(default_factory=deque)
    was_right: bool = False


class GuessLimit:
    """Keeps who was wrong how often. Belongs to one event loop.

    Args:
        clock: gives the time in seconds.

    Attributes:
        wrong: how many wrong tokens came altogether.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = Allowance(FREE_ALL, FORGIVEN_ALL_S, TURN_ALL_S)
        self._owners: dict[str, _Owner] = {}
        self.wrong = 0

    async def turn(self, owner: str, is_gone: Callable[[], bool]) -> bool:
        """Wait until a token of this owner may be looked at; returns at once where nobody was wrong too often.

        Args:
            owner: who sent it.
            is_gone: whether the sender has hung up: then its turn is another's.

        Returns:
            False where the sender has hung up.
        """
        of = self._owner(owner)
        if not self._must_wait(of):
            return True
        ticket = object()
        of.line.append(ticket)
        try:
            while not (of.line[0] is ticket and self._is_turn(of)):
                await asyncio.sleep(_LOOK_EVERY_S)
                if is_gone():
                    return False
            now_s = self._clock()
            of.allowance.take_turn(now_s)
            self._all.take_turn(now_s)
            return True
        finally:
            of.line.remove(ticket)

    def note(self, owner: str, right: bool) -> bool:
        """Note what a token was; returns whether this owner has been wrong too often."""
        of, now_s = self._owner(owner), self._clock()
        if right:
            of.was_right = True
            return False
        self.wrong += 1
        of.was_right = False
        of.allowance.note_wrong(now_s)
        self._all.note_wrong(now_s)
        return self._must_wait(of)

    def _must_wait(self, of: _Owner) -> bool:
        now_s = self._clock()
        return of.allowance.is_used_up(now_s) or (self._all.is_used_up(now_s) and not of.was_right)

    def _is_turn(self, of: _Owner) -> bool:
        now_s = self._clock()
        if of.allowance.is_used_up(now_s) and now_s < of.allowance.next_turn_s:
            return False
        return of.was_right or not self._all.is_used_up(now_s) or now_s >= self._all.next_turn_s

    def _owner(self, owner: str) -> _Owner:
        """What is known of an owner; of very many, those that were heard of longest ago are forgotten."""
        of = self._owners.pop(owner, None) or _Owner()
        self._owners[owner] = of
        while len(self._owners) > _MOST_OWNERS:
            oldest = next((name for name, other in self._owners.items() if not other.line), None)
            if oldest is None:
                break
            del self._owners[oldest]
        return of
