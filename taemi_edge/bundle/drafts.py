"""Drafts: hidden folders beside a target, in which it is written before it takes its place.

The process that makes a draft holds a lock on it (flock) until it ends, however it ends. So a draft whose lock is free
was left behind by a killed process, and whoever writes beside it next removes it. A draft is never removed where that
is not certain: where the file system has no locks, or where another machine may share the folder.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from taemi_edge.errors import OutputError

_DRAFT = ".draft-"
_NAME = re.compile(_DRAFT + r"([0-9a-f]{8})-([0-9]+)-([0-9a-f]{6})([0-9a-f]{10})-(.+)", re.DOTALL)
#: A draft shows the end of its target's name, so that its own name is never too long.
_SHOWN = 40
_NEW, _OLD = "new", "old"
#: How long a command waits for another one that looks at the same folder.
_PATIENCE_S = 2.0
#: File systems that only one kernel writes at a time (statfs(2), f_type): ext, XFS, Btrfs, F2FS, tmpfs, overlay, ZFS,
#: UBIFS, FAT, exFAT, bcachefs.
_LOCAL = frozenset(
    (0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994, 0x794C7630, 0x2FC12FC1, 0x24051905, 0x4D44, 0x2011BAB0)
    + (0xCA451A4E,)
)
#: What this process is writing: names of drafts, and folders that it has looked through.
_held: set[str] = set()
_swept: set[Path] = set()


@contextmanager
def hold_draft(target: Path, alone: bool = False, mode: int = 0o777) -> Iterator[Path]:
    """Give a path beside `target`, with its name, for what shall take its place; what is there at the end is removed.

    Args:
        target: the path without links; its folder must be there.
        alone: refuse where another process holds a draft of the same target.
        mode: who may look into it, before umask.

    Raises:
        OutputError: another process is writing `target`.
        OSError: the draft cannot be made.
    """
    with _looking_at(target.parent) if alone else nullcontext():
        sweep(target.parent, again=alone)
        if alone and (pid := _writer_of(target)):
            raise OutputError(f"{target}: process {pid} is writing it: wait until it is done, or name another place")
        draft, descriptor = _make(target, mode)
    _held.add(draft.name)
    try:
        yield draft / _NEW / target.name
    finally:
        _held.discard(draft.name)
        shutil.rmtree(draft, ignore_errors=True)
        os.close(descriptor)


def aside(content: Path) -> Path:
    """Give the place where what was there before steps aside; `sweep` puts it back where nothing took its place."""
    folder = content.parent.with_name(_OLD)
    folder.mkdir()
    return folder / content.name


def is_draft(name: str) -> bool:
    """Tell the name of a draft from those of users' files.

    >>> is_draft(".draft-of-my-novel")
    False
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    boot, pid, seed, tag, shown = match.groups()
    return len(shown) >= _SHOWN or tag == _tag(boot, pid, seed, shown)


def lies_in_a_draft(target: Path) -> bool:
    """Whether a path is inside of a draft."""
    return any(is_draft(part) for part in target.parts[:-1])


def final_place(path: Path) -> Path:
    """Where something will lie once its draft has taken its place; a path outside of drafts is its own.

    People know the target, and the draft is gone when they read its name.

    >>> final_place(Path("export/mine"))
    PosixPath('export/mine')
    """
    for index, part in enumerate(path.parts):
        if is_draft(part):
            return final_place(Path(*path.parts[:index], *path.parts[index + 2 :]))
    return path


def sweep(folder: Path, again: bool = False, nobody_writes: bool = False) -> None:
    """Remove drafts in `folder` that killed processes left behind.

    Args:
        folder: where to look, and not below it.
        again: look even if this process has looked there before; a folder of many files is looked through once.
        nobody_writes: the caller knows that no other process writes in the folder, on any machine that shares it, so
            that every draft of this user was left behind; those of this process stay.
    """
    if folder in _swept and not again:
        return
    _swept.add(folder)
    for draft in _drafts_in(folder):
        with suppress(OSError):
            _remove_if_left(draft, nobody_writes)


def _drafts_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if is_draft(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _remove_if_left(draft: Path, nobody_writes: bool = False) -> None:
    if draft.name in _held:
        return
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return
        if not nobody_writes and not (_locked(descriptor) and _of_this_machine(draft, descriptor)):
            return
        for old in (draft / _OLD).glob("*"):
            if not os.path.lexists(draft.parent / old.name):
                old.rename(draft.parent / old.name)
        shutil.rmtree(draft, ignore_errors=True)
    finally:
        os.close(descriptor)


def _of_this_machine(draft: Path, descriptor: int) -> bool:
    """Whether a lock would show here: the draft's owner runs under this kernel, or it ran before the last start."""
    if draft.name.startswith(_DRAFT + _boot()):
        return True
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return _file_system(descriptor) in _LOCAL and os.fstat(descriptor).st_mtime < started


def _make(target: Path, mode: int) -> tuple[Path, int]:
    """Make a draft and lock it; where a sweep removes it in between, make another one."""
    while True:
        boot, pid, seed = _boot(), str(os.getpid()), secrets.token_hex(3)
        name = f"{_DRAFT}{boot}-{pid}-{seed}{_tag(boot, pid, seed, target.name)}-{target.name[-_SHOWN:]}"
        draft = target.with_name(name)
        draft.mkdir(mode)
        descriptor = -1
        try:
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: the draft is then never swept
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            (draft / _NEW).mkdir()
            return draft, descriptor
        except FileNotFoundError:
            if descriptor >= 0:
                os.close(descriptor)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            if descriptor >= 0:
                os.close(descriptor)
            raise


def _writer_of(target: Path) -> int | None:
    """Give the process that holds a draft of `target`; None where there is none, or where locks do not tell."""
    for draft in _drafts_in(target.parent):
        match = _NAME.fullmatch(draft.name)
        if match is None or draft.name in _held:
            continue
        boot, pid, seed, tag, _ = match.groups()
        if tag != _tag(boot, pid, seed, target.name):
            continue
        with suppress(OSError):
            descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(pid)
            finally:
                os.close(descriptor)
    return None


@contextmanager
def _looking_at(folder: Path) -> Iterator[None]:
    """Let one process at a time look for drafts in a folder and make its own; without locks, all do."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until = time.monotonic() + _PATIENCE_S
        while not _locked(descriptor) and time.monotonic() < until:
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Take a lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _tag(boot: str, pid: str, seed: str, name: str) -> str:
    """What ties a draft's name to its target's, so that no file of a user is taken for a draft."""
    return sha256(os.fsencode(f"{boot}-{pid}-{seed}-{name}")).hexdigest()[:10]


@cache
def _boot() -> str:
    """The running kernel: the same in all its containers, another one on another machine and after a restart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "0" * 8


def _file_system(descriptor: int) -> int:
    """The type of a file system, as statfs(2) gives it."""
    answer = ctypes.create_string_buffer(512)
    try:
        if ctypes.CDLL(None).fstatfs(descriptor, answer) != 0:
            return 0
    except AttributeError:
        return 0
    return ctypes.c_long.from_buffer(answer).value & 0xFFFFFFFF
