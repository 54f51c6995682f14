"""Drafts: a kill at any step leaves a whole folder, and what it leaves beside it is swept by the next command."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from taemi_edge.bundle import atomic, drafts
from taemi_edge.bundle.atomic import claimed, new_file, new_folder, scratch_folder
from taemi_edge.bundle.drafts import is_draft
from taemi_edge.errors import OutputError

#: Runs a step of work in a fork, kills it at its n-th line of the modules that write, and lets a second fork, which is
#: the next command, write beside it. It says what it found after each kill.
KILLED_AT_EVERY_LINE = """
import json, os, shutil, signal, sys
from pathlib import Path
from taemi_edge.bundle import atomic, drafts

place, way, stride = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if way == "renames":  # what a file system answers that cannot exchange two names
    atomic._exchange = lambda one, other: False
watched = {atomic.__file__, drafts.__file__, shutil.__file__}
files = ["a.txt", "b.txt"]

def write(content):
    if way == "file":
        with atomic.new_file(place / "out") as draft:
            draft.write_text(content * 2)
    elif way == "link":
        atomic.replace_link(place / "out", content)
    else:
        with atomic.new_folder(place / "out", files) as draft:
            for name in files:
                (draft / name).write_text(content)

def found():
    try:
        if way == "link":
            return os.readlink(place / "out") * 2
        if way == "file":
            return (place / "out").read_text()
        return "".join((place / "out" / name).read_text() for name in files)
    except FileNotFoundError:
        return None

def in_a_fork(work):
    child = os.fork()
    if child == 0:
        drafts._swept.clear()
        drafts._held.clear()
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]

def killed_at(step):
    def line(frame, event, _argument):
        nonlocal step
        step -= event == "line"
        if step < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return line
    sys.settrace(lambda frame, event, _argument: line if frame.f_code.co_filename in watched else None)
    write("new")
    sys.settrace(None)

def next_command():
    with atomic.new_file(place / "next") as draft:
        draft.touch()

seen = []
step = 0
while True:
    if found() != "oldold":
        in_a_fork(lambda: write("old"))
    killed = in_a_fork(lambda: killed_at(step)) == signal.SIGKILL
    before = found()
    in_a_fork(next_command)
    seen.append((before, found(), sorted(os.listdir(place))))
    if not killed:
        break
    step += stride
print(json.dumps(seen))
"""


@pytest.mark.once
@pytest.mark.parametrize("way", ["exchange", "renames", "file", "link"])
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_kill_at_any_line_leaves_all_of_the_old_or_all_of_the_new(tmp_path: Path, way: str, stride: int):
    memory = "/dev/shm"  # noqa: S108 - hundreds of folders are brought to the disk, which takes no time in memory
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as place:
        command = [sys.executable, "-c", KILLED_AT_EVERY_LINE, place, way, str(stride)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert len(seen) > 50 / stride
    for step, (before, after, names) in enumerate(seen):
        assert after in ("oldold", "newnew"), step
        assert before == after or (way == "renames" and before is None), step
        assert names == ["next", "out"], (step, names)
    assert seen[0][1] == "oldold"
    assert seen[-1][1] == "newnew"


def test_who_reads_during_an_exchange_gets_all_of_one_folder(tmp_path: Path):
    def write(content: str) -> None:
        with new_folder(tmp_path / "out", ["a", "b"]) as draft:
            (draft / "a").write_text(content)
            (draft / "b").write_text(content)

    write("0")
    done = threading.Event()
    pairs: list[tuple[bytes, bytes]] = []
    missing = 0

    def read() -> None:
        nonlocal missing
        while not done.is_set():
            folder = os.open(tmp_path / "out", os.O_RDONLY)  # there is a folder at every moment
            try:
                a, b = (os.open(name, os.O_RDONLY, dir_fd=folder) for name in ("a", "b"))
                pairs.append((os.read(a, 9), os.read(b, 9)))
                os.close(a)
                os.close(b)
            except FileNotFoundError:  # the old folder is on its way out
                missing += 1
            finally:
                os.close(folder)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        write(str(number))
    done.set()
    reader.join(10)
    assert len(pairs) > 60
    assert all(a == b for a, b in pairs)
    assert reader.is_alive() is False


def _left_behind(folder: Path, **changes: str) -> Path:
    """A draft that a killed process leaves, with parts of its name changed."""
    left, descriptor = drafts._make(folder / "out", 0o777)
    os.close(descriptor)
    drafts._swept.clear()
    if changes:
        boot, pid, seed, _, shown = drafts._NAME.fullmatch(left.name).groups()
        boot = changes.get("boot", boot)
        tag = changes.get("tag", drafts._tag(boot, pid, seed, shown))
        left = left.rename(left.with_name(f".draft-{boot}-{pid}-{seed}{tag}-{shown}"))
    return left


def _sweep(folder: Path) -> None:
    with new_file(folder / "next") as draft:
        draft.write_text("")


def test_a_draft_of_this_machine_is_swept_and_one_whose_owner_lives_is_not(tmp_path: Path):
    left = _left_behind(tmp_path)
    script = "import sys, time\nfrom pathlib import Path\nfrom taemi_edge.bundle.drafts import hold_draft\n"
    script += "with hold_draft(Path(sys.argv[1])):\n print('held', flush=True)\n time.sleep(60)"
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    _sweep(tmp_path)
    assert not left.exists()
    assert [name for name in os.listdir(tmp_path) if is_draft(name)] != []
    owner.kill()
    owner.communicate()
    drafts._swept.clear()
    _sweep(tmp_path)
    assert os.listdir(tmp_path) == ["next"]


def test_what_may_be_another_machines_or_a_users_stays(tmp_path: Path):
    elsewhere = _left_behind(tmp_path, boot="0badcafe")
    users = [tmp_path / ".draft-x", _left_behind(tmp_path, tag="0" * 10)]
    users[0].mkdir()
    (users[0] / "chapter.txt").write_text("a novel")
    drafts._swept.clear()
    _sweep(tmp_path)
    assert elsewhere.exists()
    assert all(folder.exists() for folder in users)


def test_a_draft_from_before_the_last_start_of_this_machine_is_swept(tmp_path: Path):
    left = _left_behind(tmp_path, boot="0badcafe")
    os.utime(left, (1_000_000_000, 1_000_000_000))
    _sweep(tmp_path)
    assert not left.exists()


def test_without_locks_nothing_is_swept_and_all_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    left = _left_behind(tmp_path)
    monkeypatch.setattr(drafts.fcntl, "flock", no_locks)
    monkeypatch.setattr(drafts, "_PATIENCE_S", 0.05)
    for _ in range(2):
        with claimed(tmp_path / "out"), new_folder(tmp_path / "out", ["a"]) as draft:
            (draft / "a").touch()
    assert left.exists()
    assert sorted(os.listdir(tmp_path)) == [left.name, "out"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_scratch_folders_are_for_their_owner_alone_and_swept(tmp_path: Path, monkeypatch, umask: int):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, descriptor = drafts._make(tmp_path / "taemi-edge", 0o700)
    os.close(descriptor)
    with scratch_folder() as folder:
        assert not left.exists()
        assert folder.parent.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path) == []


def _claiming(place: Path) -> subprocess.Popen[str]:
    script = "import sys\nfrom pathlib import Path\nfrom taemi_edge.bundle.atomic import claimed\n"
    script += "with claimed(Path(sys.argv[1])):\n print('held', flush=True)\n sys.stdin.read()"
    command = [sys.executable, "-c", script, str(place)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_place_belongs_to_one_process_at_a_time(tmp_path: Path):
    place = tmp_path / "later" / "out"
    holder = _claiming(place)
    (tmp_path / "link").symlink_to(place)
    says = f"process {holder.pid} is writing it: wait until it is done, or name another place"
    for again in (place, tmp_path / "later" / ".." / "later" / "out", tmp_path / "link"):
        with pytest.raises(OutputError, match=says), claimed(again):
            pass
        with pytest.raises(OutputError, match=says), new_folder(again, []):
            pass
    with claimed(tmp_path / "later" / "other"):
        pass
    holder.communicate("")
    with claimed(place), claimed(place):  # this process holds it already
        pass
    (tmp_path / "link").unlink()
    assert os.listdir(tmp_path) == []  # the folder that was made for it is gone too


def test_a_killed_process_holds_no_place(tmp_path: Path):
    holder = _claiming(tmp_path / "out")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with claimed(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path) == []


def test_devices_and_pipes_need_no_claim(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for place in (Path("/dev/stdout"), Path("/dev/null"), Path("/proc/self/fd/1"), tmp_path / "pipe"):
        with claimed(place):
            assert os.listdir(tmp_path) == ["pipe"]


WRITES_ONE_FOLDER = """
import sys
from pathlib import Path
from taemi_edge.bundle.atomic import new_folder
from taemi_edge.errors import OutputError

done = 0
for _ in range(30):
    try:
        with new_folder(Path(sys.argv[1]), ["a", "b"]) as draft:
            for name in "ab":
                (draft / name).write_text(sys.argv[2])
        done += 1
    except OutputError as error:
        assert "is writing it" in str(error), error
print(done)
"""


def test_of_several_processes_that_write_one_folder_each_writes_it_whole_or_is_refused(tmp_path: Path):
    command = [sys.executable, "-c", WRITES_ONE_FOLDER, str(tmp_path / "out")]
    running = [subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True) for i in range(4)]
    done = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sum(done) >= 4
    assert (tmp_path / "out" / "a").read_text() == (tmp_path / "out" / "b").read_text()
    assert os.listdir(tmp_path) == ["out"]


def test_the_kernel_exchanges_two_folders(tmp_path: Path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchanged = atomic._exchange(tmp_path / "one", tmp_path / "other")
    if not exchanged:
        pytest.skip(f"this file system cannot: {os.strerror(ctypes.get_errno())}")
    assert os.listdir(tmp_path / "one") == ["other"]
