"""Which connections may stay."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.live.page.connections import (
    LONGEST_S,
    MOST_UNSENT_BYTES,
    RESERVE,
    THIS_MACHINE,
    Connection,
    ConnectionTable,
)


class Made:
    """Connections that a test makes, and which of them were closed."""

    def __init__(self) -> None:
        self.closed: set[int] = set()
        self.count = 0

    def __call__(self, owner: str, since_s: float = 0.0) -> Connection:
        self.count += 1
        number = self.count
        return Connection(
            ("somewhere", number), owner, since_s, lambda: self.closed.add(number), lambda: number in self.closed
        )


def test_health_has_room_while_one_address_holds_all_it_can():
    table, made = ConnectionTable(8, 4), Made()
    for _ in range(20):
        assert table.admit(made("198.51.100.1"))
    assert len(table) == 4
    for _ in range(4):
        assert table.admit(made("203.0.113.9"))
    assert table.admit(made("192.0.2.1"))  # closes one of those who have most
    assert len(table) == 8


def test_this_machine_has_a_reserve_when_all_others_are_busy():
    table, made = ConnectionTable(4, 4), Made()
    for number in range(4):
        busy = made(f"198.51.100.{number}")
        assert table.admit(busy)
        busy.enter("open", 0.0)
    assert not table.admit(made("192.0.2.1"))
    for _ in range(RESERVE):
        local = made(THIS_MACHINE)
        assert table.admit(local)
        local.enter("open", 0.0)
    assert not table.admit(made(THIS_MACHINE))
    assert table.refused == 2


def test_time_runs_out_for_what_does_not_go_on():
    table, made = ConnectionTable(8, 8), Made()
    waiting, asked, watching, deaf = made("a", 0.0), made("b", 0.0), made("c", 0.0), made("d", 0.0)
    for connection in (waiting, asked, watching, deaf):
        table.admit(connection)
    asked.enter("answering", 5.0)
    watching.enter("open", 5.0)
    deaf.enter("open", 5.0)
    deaf.unsent_bytes = lambda: MOST_UNSENT_BYTES + 1
    table.close_overdue(LONGEST_S["waiting"] + 0.1)
    assert table.find(waiting.peer) is table.find(deaf.peer) is None
    assert table.find(asked.peer) is asked
    table.close_overdue(1e6)
    assert table.find(asked.peer) is None
    assert table.find(watching.peer) is watching


def test_for_want_of_descriptors_there_are_fewer_and_this_machine_keeps_a_share():
    table, made = ConnectionTable(8, 8), Made()
    comers = [made(f"198.51.100.{number}", float(number)) for number in range(8)]
    assert all(table.admit(comer) for comer in comers)
    comers[0].enter("open", 0.0)
    table.limit(4)
    assert len(table) == 4
    assert made.closed == {2, 3, 4, 5}  # the oldest of those that only wait
    assert all(table.admit(made(THIS_MACHINE, 9.0)) for _ in range(8))
    assert all(table.admit(made("192.0.2.1", 10.0)) for _ in range(8))
    owners = sorted(connection.owner for connection in table._connections.values())
    assert owners == ["192.0.2.1", "198.51.100.0", THIS_MACHINE, THIS_MACHINE]
    table.limit(0)
    assert len(table) == 1
    assert table.find(comers[0].peer) is comers[0]
    assert not table.close_most_idle()
    assert not table.admit(made(THIS_MACHINE))
    table.limit(None)
    assert all(table.admit(made(THIS_MACHINE)) for _ in range(8 + RESERVE - 1))
    assert len(table) == 8 + RESERVE


def test_what_was_closed_counts_until_its_descriptor_is_free():
    table, made = ConnectionTable(4, 4), Made()
    slow, quick = made("a", 0.0), made("b", 1.0)
    slow.close = lambda: None
    assert table.admit(slow)
    assert table.admit(quick)
    table.close_all()
    assert (len(table), table.ending) == (0, 1)
    made.closed.add(slow.peer[1])
    assert table.ending == 0


OWNERS = st.sampled_from([THIS_MACHINE, "a", "b", "c"])
STATES = st.sampled_from(["waiting", "answering", "queueing", "open", "gone"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(OWNERS, STATES), max_size=120), st.integers(1, 12), st.integers(1, 12))
def test_limits_hold_whatever_comes(comers, most, most_per_owner):
    table, made = ConnectionTable(most, most_per_owner), Made()
    for at_s, (owner, state) in enumerate(comers):
        connection = made(owner, float(at_s))
        idle_before = any(c.state in ("waiting", "queueing") and not c.is_gone() for c in table._connections.values())
        admitted = table.admit(connection)
        assert admitted or len(table) >= min(most, most_per_owner)
        assert admitted or not idle_before or owner != THIS_MACHINE
        assert len(table) <= most + RESERVE
        alive = [c.owner for c in table._connections.values()]
        assert all(alive.count(other) <= most_per_owner for other in "abc")
        assert len([other for other in alive if other != THIS_MACHINE]) <= most
        if state == "gone":
            made.closed.add(connection.peer[1])
        elif admitted:
            connection.enter(state, float(at_s))
