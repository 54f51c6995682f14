"""The lock of a feature store: one process writes it at a time, on whatever machine.

The lock is the file `writer.lock` in the store. It names its process, which writes it anew every few seconds: the beat
of its heart. A process of the same machine is looked up; one of another machine counts as dead when its lock has not
changed for a while. A process that finds another one's name in its lock writes nothing more.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from taemi_edge.bundle.values import Frozen
from taemi_edge.corpora.store_place import LocalPlace, StorePlace
from taemi_edge.errors import StoreError, TaemiError
from taemi_edge.progress import SILENT, Progress

LOCK = "writer.lock"
#: How often a writer says that it is alive.
BEAT_S = 10.0
#: A lock of another machine that says that it was written so long ago may be a dead one's; clocks differ by less.
OLD_AFTER_S = 120.0
#: For so long it is watched then: three beats would show in this time.
WATCH_S = 35.0
#: Who takes over a lock waits before reading it back: of two that take it over, the last one has it.
SETTLE_S = 0.5
#: How often a lock is read that changes while it is read.
_READS = 3


class LockHolder(Frozen, frozen=True):
    """The content of `writer.lock`.

    Attributes:
        id: random, of this run.
        host: the machine's name, for messages.
        machine: tells machines, and containers that do not see each other's processes, apart.
        process: the process id.
        started: when the process started, as its system counts; another process may get the same id later.
        beat: how often the lock was written.
        time_s: when it was written last.
    """

    id: str
    host: str
    machine: str
    process: int
    started: int
    beat: int
    time_s: float


class StoreLock:
    """A lock that this process holds.

    Args:
        place: the store.
        holder: what the lock says.
    """

    def __init__(self, place: StorePlace, holder: LockHolder) -> None:
        self._place = place
        self._holder = holder
        self._ended = threading.Event()
        self._taken_by: LockHolder | None = None
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name="store lock", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Refuse to go on where another process took the store over.

        Raises:
            StoreError: it did.
        """
        if self._lost and self._taken_by is None:
            raise StoreError(f"{self._place}: {LOCK} was deleted while this process wrote the store: run this again")
        if self._taken_by is not None:
            raise StoreError(
                f"{self._place}: {named(self._taken_by)} took the store over, since this process gave no sign of life "
                f"for a while: wait until it is done, and run this again"
            )

    def release(self) -> None:
        """Give the store free for others; where it cannot be reached any more, the lock grows old there."""
        self._ended.set()
        self._thread.join()
        with suppress(TaemiError, OSError):
            if not self._lost and _is_ours(self._place, self._holder):
                self._place.delete(LOCK)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                content = _content(self._place)
                other = decoded_lock(content)
                if other is None or other.id != self._holder.id:
                    self._taken_by, self._lost = other, True
                    return
                self._holder = msgspec.structs.replace(self._holder, beat=self._holder.beat + 1, time_s=time.time())
                self._place.write(LOCK, msgspec.json.encode(self._holder))
            except (TaemiError, OSError):
                continue  # a full disk or a lost connection: the work itself meets and reports it


@contextmanager
def hold_store(place: StorePlace, progress: Progress = SILENT) -> Iterator[StoreLock]:
    """Keep other processes from writing a store.

    Args:
        place: the store.
        progress: is told when a lock of another machine has to be watched for a while.

    Raises:
        StoreError: another process is writing it; the message names it.
        OutputError: there is no room or no permission.
    """
    lock = StoreLock(place, _taken(place, progress))
    try:
        yield lock
    finally:
        lock.release()


def _taken(place: StorePlace, progress: Progress) -> LockHolder:
    mine = LockHolder(
        id=secrets.token_hex(8),
        host=socket.gethostname()[:100],
        machine=_machine(),
        process=os.getpid(),
        started=_started(os.getpid()),
        beat=0,
        time_s=time.time(),
    )
    while True:
        if place.create(LOCK, msgspec.json.encode(mine)):
            if isinstance(place, LocalPlace) or _is_still_ours(place, mine):
                return mine
            continue
        found = _content(place)
        if found is None:
            continue
        if _is_alive(place, found, progress):
            raise _refusal(place, found)
        if _content(place) == found:
            place.write(LOCK, msgspec.json.encode(mine))
            if _is_still_ours(place, mine):
                return mine


def _is_still_ours(place: StorePlace, mine: LockHolder) -> bool:
    """Whether nobody else wrote a lock at the same time."""
    time.sleep(SETTLE_S)
    return _is_ours(place, mine)


def _is_ours(place: StorePlace, mine: LockHolder) -> bool:
    holder = decoded_lock(_content(place))
    return holder is not None and holder.id == mine.id


def _is_alive(place: StorePlace, content: bytes, progress: Progress) -> bool:
    """Whether the process that wrote a lock is still there."""
    holder = decoded_lock(content)
    if holder is not None and holder.machine == _machine():
        return _started(holder.process) == holder.started
    if holder is not None and abs(time.time() - holder.time_s) < OLD_AFTER_S:
        return True
    who = named(holder) if holder else "the process that wrote its lock"
    progress.stage(f"looking whether {who} still writes {place}")
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        time.sleep(min(1.0, WATCH_S / 5))
        if _content(place) != content:
            return True
    return False


def _refusal(place: StorePlace, content: bytes) -> StoreError:
    holder = decoded_lock(_content(place)) or decoded_lock(content)
    who = named(holder) if holder else "another process"
    return StoreError(f"{place}: {who} is writing it: wait until it is done, or name another place")


def named(holder: LockHolder) -> str:
    """What messages call the process that holds a lock."""
    host = "".join(sign for sign in holder.host[:100] if sign.isprintable())
    return f"process {holder.process} on {host or 'another machine'}"


def _content(place: StorePlace) -> bytes | None:
    """The bytes of the lock; None where there is none.

    Between two looks it may be deleted and made again, so one that is there and cannot be read is read again.
    """
    for left in reversed(range(_READS)):
        try:
            return place.read(LOCK)
        except StoreError:
            if not place.exists(LOCK):
                return None
            if not left:
                raise
    raise AssertionError("_READS is at least 1")


def decoded_lock(content: bytes | None) -> LockHolder | None:
    """Who holds a lock, by its content; None where nobody wrote that."""
    try:
        return None if content is None else msgspec.json.decode(content, type=LockHolder)
    except (ValueError, RecursionError):
        return None


def _machine() -> str:
    """This kernel since its last start, and the processes that this one sees: a container may see its own alone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(process: int) -> int:
    """When a process started, in ticks of its machine; -1 where there is none, or it has ended."""
    try:
        after_name = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return -1 if after_name[0] in "ZX" else int(after_name[19])
    except (OSError, IndexError, ValueError):
        return -1
