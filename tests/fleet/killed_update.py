"""Kills an update by SIGKILL at one moment after another, and says how the device was left each time.

    python -m tests.fleet.killed_update steps|writes ROOT SOURCE [EVERY]

ROOT is a device that runs another version. `steps` kills at the beginning of each step; `writes` before every change
of a name under ROOT, as the interpreter's audit hook reports them. Each kill happens in a process of its own, which is
forked before anything heavy runs. With EVERY, only every so many moments are tried. A line of JSON for each kill tells
what was left and what the next update made of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import taemi_edge.fleet.watching
from taemi_edge.bundle.folder import open_bundle
from taemi_edge.fleet import candidate
from taemi_edge.fleet import update as update_module
from taemi_edge.fleet.update import UpdateOptions, update

#: What renames, makes or removes a name; `open` for writing is among them.
CHANGES = ("os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.truncate")


class Killer:
    """Kills this process at the moment number `at`."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, *_: object) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def updated(root: Path, source: Path, how: str, at: int) -> bool:
    """Update in a child process that kills itself at a moment; whether it came to that."""
    child = os.fork()
    if child == 0:
        killer = Killer(at)

        def watch(event: str, given: tuple[object, ...]) -> None:
            writes = event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & os.O_ACCMODE)
            if writes and str(given[0]).startswith(str(root)):
                killer()

        if how == "writes":
            sys.addaudithook(watch)
        try:
            options = UpdateOptions(source=str(source), target="cpu", precision="fp32", threads=1)
            update(root, options, on_step=killer if how == "steps" else lambda _: None)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def state(root: Path) -> dict[str, object]:
    """What a service would find now."""
    target = os.readlink(root / "current")
    bundle = open_bundle(root / "current")
    return {"target": target, "trained_on": bundle.manifest.trained_on, "verified": bundle.manifest.verified}


def left(root: Path) -> list[str]:
    """Everything in the folder but the cache."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if "cache" not in path.parts)


def main() -> None:
    how, root, source, every = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int([*sys.argv, "1"][4])
    taemi_edge.fleet.watching._FIRST_REPORTS_S = 0.0
    update_module.rehearse = lambda *_: 1.0  # it writes nothing there
    before = root.with_name("before")
    shutil.copytree(root, before, symlinks=True)
    if how == "steps":  # building and parity are killed by `writes`; here they would take most of the time
        candidate.check_parity = lambda *_, **__: (SimpleNamespace(ok=True), None)
        updated(root, source, "", -1)
        shutil.rmtree(before / "cache")
        shutil.copytree(root / "cache", before / "cache")
    at, killed = 0, True
    while killed:
        shutil.rmtree(root)
        shutil.copytree(before, root, symlinks=True)
        killed = updated(root, source, how, at)
        found = {"at": at, "killed": killed, "left": state(root)}
        updated(root, source, "", -1)
        sys.stdout.write(json.dumps({**found, "then": state(root), "files": left(root)}) + "\n")
        sys.stdout.flush()
        at += every


if __name__ == "__main__":
    main()
