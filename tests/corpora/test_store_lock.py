"""The lock of a store: one writer, dead ones are taken over, living ones on any machine are not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import msgspec
import pytest

from taemi_edge.corpora import store_lock
from taemi_edge.corpora.store_lock import LOCK, LockHolder, hold_store
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.errors import PlaceError, StoreError

pytestmark = pytest.mark.once  # nothing in it depends on the interpreter


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(store_lock, "BEAT_S", 0.05)
    monkeypatch.setattr(store_lock, "WATCH_S", 0.5)
    monkeypatch.setattr(store_lock, "SETTLE_S", 0.05)


def held(place: LocalPlace) -> LockHolder:
    return msgspec.json.decode(place.read(LOCK), type=LockHolder)


def of_another_machine(place: LocalPlace, age_s: float) -> LockHolder:
    """Write the lock of a process that does not run here."""
    place.delete(LOCK)
    with hold_store(place):
        mine = held(place)
    other = msgspec.structs.replace(mine, id="0" * 16, host="far", machine="another", time_s=time.time() - age_s)
    place.write(LOCK, msgspec.json.encode(other))
    return other


def test_a_lock_names_its_process_beats_and_goes(tmp_path):
    place = LocalPlace(tmp_path / "s")
    with hold_store(place) as lock:
        first = held(place)
        assert first.process == os.getpid()
        until = time.monotonic() + 20
        while held(place).beat <= first.beat and time.monotonic() < until:
            time.sleep(0.02)
        assert held(place).beat > first.beat
        lock.require()
    assert place.names() == []


def test_a_second_writer_is_refused_in_one_sentence(tmp_path):
    place = LocalPlace(tmp_path / "s")
    with hold_store(place):
        with pytest.raises(StoreError) as error, hold_store(place):
            pass
        assert str(error.value) == (
            f"{place}: process {os.getpid()} on {os.uname().nodename} is writing it: wait until it is done, or name "
            f"another place"
        )
    with hold_store(place):
        pass


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from taemi_edge.corpora.store_lock import hold_store;"
        "from taemi_edge.corpora.store_place import LocalPlace\n"
        "with hold_store(LocalPlace(Path(sys.argv[1]))): print('held', flush=True); time.sleep(600)"
    )
    place = LocalPlace(tmp_path / "s")
    running = subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {running.pid} on .* is writing it"), hold_store(place):
            pass
    finally:
        running.kill()
        running.communicate()
    with hold_store(place):
        assert held(place).process == os.getpid()


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path):
    place = LocalPlace(tmp_path / "s")
    with hold_store(place):
        mine = held(place)
    place.write(LOCK, msgspec.json.encode(msgspec.structs.replace(mine, started=mine.started - 1)))
    with hold_store(place):
        assert held(place).id != mine.id


def test_a_lock_of_another_machine_is_left_alone_until_it_is_old_and_still(tmp_path):
    place = LocalPlace(tmp_path / "s")
    of_another_machine(place, age_s=store_lock.OLD_AFTER_S / 2)
    with pytest.raises(StoreError, match=r"process \d+ on far is writing it"), hold_store(place):
        pass
    of_another_machine(place, age_s=-10 * store_lock.OLD_AFTER_S)  # its clock is ahead: only watching tells
    with hold_store(place):
        assert held(place).process == os.getpid()
    of_another_machine(place, age_s=2 * store_lock.OLD_AFTER_S)
    with hold_store(place):
        assert held(place).machine != "another"


def test_a_lock_of_another_machine_that_beats_is_alive_whatever_its_clock_says(tmp_path):
    place = LocalPlace(tmp_path / "s")
    other = of_another_machine(place, age_s=1e6)
    ended = threading.Event()

    def beat() -> None:
        for number in range(1, 10_000):
            if ended.wait(0.05):
                return
            place.write(LOCK, msgspec.json.encode(msgspec.structs.replace(other, beat=number)))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(StoreError, match="on far is writing it"), hold_store(place):
            pass
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 3}', b"\xff" * 9, b"[" * 100_000])
def test_what_is_no_lock_is_watched_and_taken_over(tmp_path, monkeypatch, content: bytes):
    monkeypatch.setattr(store_lock, "WATCH_S", 0.05)  # nobody beats
    place = LocalPlace(tmp_path / "s")
    place.write(LOCK, content)
    with hold_store(place):
        assert held(place).process == os.getpid()


def test_a_lock_that_goes_and_comes_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    """A writer that ends between two looks, and one that begins: who looks is told of the second one."""
    place, read = LocalPlace(tmp_path / "s"), LocalPlace.read
    failures = [StoreError("writer.lock is missing"), None]

    def read_later(self: LocalPlace, name: str) -> bytes:
        if failures and (failure := failures.pop(0)):
            raise failure
        return read(self, name)

    monkeypatch.setattr(store_lock, "BEAT_S", 60)  # the first writer looks no more
    with hold_store(place):
        monkeypatch.setattr(LocalPlace, "read", read_later)
        with pytest.raises(StoreError, match="is writing it: wait until it is done"), hold_store(place):
            pass


@pytest.mark.parametrize("by", ["far", None])
def test_who_was_taken_over_writes_nothing_more(tmp_path, by: str | None):
    place = LocalPlace(tmp_path / "s")
    with hold_store(place) as lock:
        if by is None:
            place.delete(LOCK)
        else:
            other = msgspec.structs.replace(held(place), id="1" * 16, host=by, process=7)
            place.write(LOCK, msgspec.json.encode(other))
        until = time.monotonic() + 20
        with pytest.raises(StoreError, match="process 7 on far took" if by else "writer.lock was deleted"):
            while time.monotonic() < until:
                lock.require()
                time.sleep(0.02)
    assert place.names() == ([LOCK] if by else [])
    if by:
        assert held(place).host == "far"


@dataclass(frozen=True)
class UnsteadyPlace(LocalPlace):
    """A folder that cannot be reached for a while, as a bucket may be."""

    gone: threading.Event = field(default_factory=threading.Event)

    def read(self, name: str) -> bytes:
        if self.gone.is_set():
            raise PlaceError("nobody answers")
        return super().read(name)


def test_a_place_that_cannot_be_reached_for_a_while_does_not_end_the_beat(tmp_path):
    place = UnsteadyPlace(tmp_path / "s")
    with hold_store(place) as lock:
        place.gone.set()
        time.sleep(0.3)
        lock.require()
        place.gone.clear()
        before, until = held(place).beat, time.monotonic() + 20
        while held(place).beat <= before and time.monotonic() < until:
            time.sleep(0.02)
        assert held(place).beat > before
    with pytest.raises(ValueError, match="the work's own"), hold_store(place):
        place.gone.set()
        raise ValueError("the work's own")
    assert LocalPlace(place.folder).names() == [LOCK]


def test_of_many_that_take_over_a_dead_lock_one_has_it(tmp_path):
    place = LocalPlace(tmp_path / "s")
    of_another_machine(place, age_s=1e6)
    have, refused, go_on = [], [], threading.Event()

    def take(number: int) -> None:
        try:
            with hold_store(place):
                have.append(number)
                go_on.wait(30)
        except StoreError:
            refused.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 25
    while len(have) + len(refused) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(have) == 1
    assert len(refused) == 3
