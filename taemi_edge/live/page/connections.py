"""Decides which connections to the page may stay: how many there are, of whom, and for how long each may take.

A connection is `waiting` until the head of a request has come, `answering` while it is answered, `queueing` while
it waits for its turn, and `open` once it is a WebSocket. Where there is no room, the oldest connection that only
waits is closed, of the address that has most of them: whoever takes all places loses them to whoever asks for
something. Nothing here reads a clock or a socket: callers pass the time, and connections close themselves.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "answering", "queueing", "open"]

#: How long a connection may be in a state, in seconds; bytes that trickle in do not make it longer.
LONGEST_S: dict[State, float] = {"waiting": 10.0, "answering": 15.0, "queueing": 60.0}
#: Connections beyond all others that only this machine may make: a health check, a scraper, whoever looks after it.
RESERVE = 8
#: A client that lets so much wait to be sent does not read.
MOST_UNSENT_BYTES = 1 << 20


@dataclass(eq=False)
class Connection:
    """One connection, with what became of it last.

    Attributes:
        peer: the host and the port at the other end, as a key of the table.
        owner: whom it counts for; see `owner_of`.
        since_s: when its state began.
        close: ends it at once; may be called more than once.
        is_gone: whether it has ended.
        unsent_bytes: how much waits to be sent.
    """

    peer: tuple[str, int]
    owner: str
    since_s: float
    close: Callable[[], object]
    is_gone: Callable[[], bool]
    unsent_bytes: Callable[[], int] = lambda: 0
    state: State = "waiting"

    def enter(self, state: State, now_s: float) -> None:
        """Change its state; its time begins anew."""
        self.state, self.since_s = state, now_s


def owner_of(host: str) -> str:
    """Whom an address belongs to, as far as anybody can tell: of IPv6, a whole /64 is one owner's.

    >>> owner_of("192.0.2.7"), owner_of("::ffff:192.0.2.7"), owner_of("2001:db8::1:2:3:4"), owner_of("::1")
    ('192.0.2.7', '192.0.2.7', '2001:db8::/64', 'this machine')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return THIS_MACHINE
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


THIS_MACHINE = "this machine"


class ConnectionTable:
    """All connections of a server.

    Args:
        most: how many there may be; `RESERVE` more may come from this machine.
        most_per_owner: how many of them one owner may have. This machine may have all: a proxy on it speaks for many.

    Example:
        >>> closed = []
        >>> table = ConnectionTable(most=2, most_per_owner=2)
        >>> for port in (1, 2, 3):
        ...     made = table.admit(Connection(("192.0.2.7", port), "192.0.2.7", port, lambda: None, lambda: False))
        >>> made, len(table)
        (True, 2)
    """

    def __init__(self, most: int, most_per_owner: int) -> None:
        self._most, self._most_per_owner = most, most_per_owner
        self._most_others, self._most_in_all = most, most + RESERVE
        self._connections: dict[tuple[str, int], Connection] = {}
        self._ending: list[Connection] = []
        self.refused = self.closed = 0

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def ending(self) -> int:
        """How many connections were closed here and still have their descriptors, for a few turns of the loop."""
        self._forget_ended()
        return len(self._ending)

    def find(self, peer: tuple[str, int] | None) -> Connection | None:
        """The connection with the other end `peer`."""
        return None if peer is None else self._connections.get(peer)

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in, if there is room or if another one that only waits can be closed for it."""
        self._forget_ended()
        if not self._make_room(connection.owner):
            self.refused += 1
            return False
        self._connections[connection.peer] = connection
        return True

    def close_overdue(self, now_s: float) -> None:
        """Close what took too long, and whoever does not read; to be called about once a second."""
        self._forget_ended()
        for connection in list(self._connections.values()):
            longest_s = LONGEST_S.get(connection.state)
            overdue = longest_s is not None and now_s - connection.since_s > longest_s
            if overdue or connection.unsent_bytes() > MOST_UNSENT_BYTES:
                self._close(connection)

    def limit(self, in_all: int | None) -> None:
        """Hold `in_all` connections at most, for want of descriptors, and close those that only wait; None lifts it.

        Up to a half of them, and no more than `RESERVE`, are this machine's alone.
        """
        most_in_all = self._most + RESERVE
        self._most_in_all = most_in_all if in_all is None else max(1, min(in_all, most_in_all))
        self._most_others = max(1, self._most_in_all - min(RESERVE, self._most_in_all // 2))
        self._forget_ended()
        while len(self) > self._most_in_all and self.close_most_idle():
            pass

    def close_most_idle(self) -> bool:
        """Close the oldest connection that only waits, for want of descriptors; whether there was one."""
        self._forget_ended()
        return self._close_oldest(_of_the_largest_owner(self._connections.values()))

    def close_all(self) -> None:
        """Close every connection."""
        for connection in list(self._connections.values()):
            self._close(connection)

    def _make_room(self, owner: str) -> bool:
        every = list(self._connections.values())
        others = [c for c in every if c.owner != THIS_MACHINE]
        if owner != THIS_MACHINE:
            own = [c for c in others if c.owner == owner]
            if len(own) >= self._most_per_owner:
                return self._close_oldest(own)
            if len(others) >= self._most_others:
                return self._close_oldest(_of_the_largest_owner(others))
        return len(every) < self._most_in_all or self._close_oldest(_of_the_largest_owner(every))

    def _close_oldest(self, connections: Iterable[Connection]) -> bool:
        oldest = min((c for c in connections if _is_idle(c)), key=lambda c: c.since_s, default=None)
        if oldest is not None:
            self._close(oldest)
        return oldest is not None

    def _close(self, connection: Connection) -> None:
        self.closed += 1
        self._connections.pop(connection.peer, None)
        connection.close()
        self._ending.append(connection)

    def _forget_ended(self) -> None:
        for peer in [peer for peer, connection in self._connections.items() if connection.is_gone()]:
            del self._connections[peer]
        self._ending = [connection for connection in self._ending if not connection.is_gone()]


def _is_idle(connection: Connection) -> bool:
    """Whether nobody misses it: nothing was asked for, or by somebody who asks too often."""
    return connection.state in ("waiting", "queueing")


def _of_the_largest_owner(connections: Iterable[Connection]) -> list[Connection]:
    """Those that could be closed, of whoever has most of them."""
    idle = [c for c in connections if _is_idle(c)]
    owners = Counter(c.owner for c in idle)
    return [c for c in idle if c.owner == owners.most_common(1)[0][0]]
