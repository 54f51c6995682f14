"""Writing folders and files so that nobody ever sees a half-written one, not even after a power cut.

A draft is written beside the place where it belongs (`bundle/drafts.py`), brought to the disk (fsync), and takes its
place in one step at the end. On an error, on a full disk, on Ctrl-C and on SIGTERM the draft is removed, and what was
there before stays. What SIGKILL leaves of a draft is removed by the next command that writes beside it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from taemi_edge.bundle.drafts import aside, hold_draft, is_draft, lies_in_a_draft, sweep
from taemi_edge.errors import OutputError, TaemiError

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: Folders of devices and open files: what lies there is written to, and never replaced.
_NO_PLACES, _BUT = ("/dev/", "/proc/"), "/dev/shm/"  # noqa: S108 - it is only compared with


@contextmanager
def new_folder(target: Path, replaceable: Collection[str]) -> Iterator[Path]:
    """Give a draft folder that takes the place of `target` at the end; on an error or Ctrl-C it is removed.

    An older folder is exchanged for the new one in one step: who opens it gets all of the old one or all of the new
    one. A file system that cannot exchange (NFS, some FUSE and overlay ones) gets two renames instead, and after a
    kill between them the next command puts the old folder back.

    Args:
        target: the folder to write; its parent folders are made where they are missing. Where it is a link, the folder
            that it leads to is replaced.
        replaceable: the names of the files that are written. A folder that holds any other file is never replaced.

    Raises:
        OutputError: there is no room or no permission, another process is writing `target`, or `target` is a file or
            holds other files.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_folder(Path(folder, "out"), ["a.txt"]) as draft:
        ...         _ = (draft / "a.txt").write_text("whole")
        ...     Path(folder, "out", "a.txt").read_text()
        'whole'
    """
    draft = target
    try:
        place = Path(os.path.realpath(target))
        _refuse_foreign(place, replaceable, target)
        place.parent.mkdir(parents=True, exist_ok=True)
        with hold_draft(place, alone=True) as draft:
            draft.mkdir()
            yield draft
            _bring_to_disk(draft)
            _replace(draft, place)
            _sync(place.parent)
    except OutputError as error:
        if isinstance(error.__cause__, OSError) and str(draft) in str(error):
            raise write_error(target, error.__cause__) from error  # people know the target, not the draft
        _name_target(error, draft, target)
        raise
    except Exception as error:
        if (said := _write_error_in(target, error)) is None:
            _name_target(error, draft, target)
            raise
        raise said from error


def _name_target(error: Exception, draft: Path, target: Path) -> None:
    """Put the target's name in place of the draft's in what an error of this package says."""
    if isinstance(error, TaemiError) and draft != target:
        error.args = tuple(a.replace(str(draft), str(target)) if isinstance(a, str) else a for a in error.args)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a draft path with the name of `target`; the draft takes the target's place at the end.

    On an error the draft is removed and an older `target` stays. Where `target` is a link, the file that it leads to is
    replaced; a device, a pipe and /dev/stdout are written to.

    Raises:
        OutputError: there is no room or no permission.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with new_file(Path(folder, "a.txt")) as draft:
        ...         _ = draft.write_text("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    try:
        if not is_a_place(target):
            with _written_through(target) as draft:
                yield draft
            return
        place = Path(os.path.realpath(target))
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        place.parent.mkdir(parents=True, exist_ok=True)
        with hold_draft(place) as draft:
            yield draft
            lasting = not lies_in_a_draft(place)  # a file of a draft folder is brought to the disk with that folder
            if lasting:
                _sync(draft)
            os.replace(draft, place)
            if lasting:
                _sync(place.parent)
    except Exception as error:
        if (said := _write_error_in(target, error)) is None:
            raise
        raise said from error


def replace_link(link: Path, target: str | Path) -> None:
    """Make a symbolic link, or point one elsewhere, in one step that lasts over a power cut.

    Args:
        link: the link; what stands there must be a link, or nothing.
        target: what it leads to, as it shall stand in the link: relative paths count from the link's folder.

    Raises:
        OutputError: there is no permission, or something else than a link stands there.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_link(Path(folder, "current"), "versions/1")
        ...     replace_link(Path(folder, "current"), "versions/2")
        ...     os.readlink(Path(folder, "current"))
        'versions/2'
    """
    try:
        if os.path.lexists(link) and not link.is_symlink():
            raise OutputError(f"{link}: expected a link or nothing, got a file or folder: move it away")
        link.parent.mkdir(parents=True, exist_ok=True)
        place = Path(os.path.realpath(link.parent)) / link.name
        with hold_draft(place) as draft:
            draft.symlink_to(target)
            _sync(draft.parent)
            os.replace(draft, place)
            _sync(place.parent)
    except OSError as error:
        raise write_error(link, error) from error


@contextmanager
def scratch_folder(within: Path | None = None) -> Iterator[Path]:
    """Give a folder for what is needed for a while, for its owner alone; it is removed at the end.

    Args:
        within: the folder that it lies in; by default that of the system's temporary files.

    Example:
        >>> with scratch_folder() as folder:
        ...     oct(folder.stat().st_mode & 0o777)
        '0o700'
    """
    if within is not None:
        within.mkdir(parents=True, exist_ok=True)
    place = Path(os.path.realpath(within or tempfile.gettempdir()), "taemi-edge")
    with hold_draft(place, mode=0o700) as folder:
        folder.mkdir(0o700)
        yield folder


@contextmanager
def claimed(*targets: Path | None) -> Iterator[None]:
    """Keep other processes from writing the same files or folders, as long as they claim them too.

    Nothing stays behind of it. Devices, pipes and places where no draft can be made need no claim: whoever writes there
    says so.

    Raises:
        OutputError: another process is writing one of them.
    """
    with ExitStack() as stack:
        for target in targets:
            if target is None or not is_a_place(target):
                continue
            place = Path(os.path.realpath(target))
            with suppress(OSError):
                stack.enter_context(_parents(place))
                stack.enter_context(hold_draft(place, alone=True))
        yield


@contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make the folders that a place lies in; those that nothing was written to are removed at the end."""
    missing = [folder for folder in place.parents if not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def is_a_place(target: Path) -> bool:
    """Whether a path is one where a file or folder can be put, and no device, pipe or open file."""
    named = (os.path.abspath(target), os.path.realpath(target))
    if any(path.startswith(_NO_PLACES) and not path.startswith(_BUT) for path in named):
        return False
    try:
        mode = target.stat().st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def require_another_place(source: Path, target: Path) -> None:
    """Refuse to write a folder over the one that is read.

    Raises:
        OutputError: `source` and `target` are the same folder.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: expected another folder than the one that is read: name a new one with --output")


def give_usual_mode(draft: Path) -> None:
    """Let a file of a draft have the mode that new files have: some libraries make files for their owner alone.

    Args:
        draft: what `new_file` gave.
    """
    draft.chmod(stat.S_IMODE(draft.stat().st_mode) | stat.S_IMODE(draft.parent.stat().st_mode) & 0o666)


def write_error(target: Path, error: OSError) -> OutputError:
    """Turn the system's error into one sentence about what could not be written.

    >>> str(write_error(Path("out"), OSError(errno.ENOSPC, "")))
    'out: no space left on the device: free some, or write elsewhere'
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{target}: no space left on the device: free some, or write elsewhere")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(f"{target}: cannot be written: a file stands where its folder should be: name another place")
    return OutputError(
        f"{target}: cannot be written: {error.strerror or error}: name another place, or repair this one"
    )


def _write_error_in(target: Path, error: Exception) -> OutputError | None:
    """Give the system's error as one sentence about what could not be written; None for any other error.

    Libraries in Rust give the system's error in words alone: "... (os error 28)".
    """
    if isinstance(error, OSError):
        return write_error(target, error)
    number = None if isinstance(error, TaemiError) else _SYSTEM_ERROR.search(str(error))
    return None if number is None else write_error(target, OSError(int(number[1]), os.strerror(int(number[1]))))


def _refuse_foreign(place: Path, replaceable: Collection[str], target: Path) -> None:
    if place.is_file():
        raise OutputError(f"{target}: expected a folder to write, got a file: name another place")
    if not place.is_dir():
        return
    sweep(place)
    names = {entry.name for entry in place.iterdir() if not is_draft(entry.name)}
    if foreign := sorted(names - set(replaceable)):
        raise OutputError(f"{target} holds other files ({foreign[0]}) and is not replaced: name a new or empty folder")


def _bring_to_disk(folder: Path) -> None:
    """Give every file of a draft the mode that a new file has, and write it to the disk: files first, then folders."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(path, name)
            found = file.lstat().st_mode
            if not stat.S_ISREG(found):
                continue
            if found & mode != mode:  # some libraries make files that only their owner reads
                file.chmod(stat.S_IMODE(found) | mode)
            _sync(file)
        _sync(Path(path))
    _sync(folder.parent)


def _sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk; some file systems cannot do that with folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _replace(draft: Path, place: Path) -> None:
    """Put the draft in its place; an older folder takes the draft's place and is removed with it."""
    if not place.exists():
        draft.rename(place)
    elif not _exchange(draft, place):
        old = aside(draft)
        try:
            place.rename(old)
            draft.rename(place)
        except BaseException:  # Ctrl-C, too: what stepped aside would be removed with the draft
            if os.path.lexists(old) and not os.path.lexists(place):
                old.rename(place)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step (renameat2); False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # glibc before 2.28
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


@contextmanager
def _written_through(target: Path) -> Iterator[Path]:
    """Give a draft elsewhere, and copy it into a device or pipe."""
    with scratch_folder() as folder:
        draft = folder / target.name
        yield draft
        with draft.open("rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
