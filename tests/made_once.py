"""Bundles and clips that take long to make: made once for all processes that run tests, and read by each of them.

The first process that asks for one makes it, while the others wait at a lock. They lie in the folder that
TAEMI_EDGE_TEST_BUNDLES names, where `make test` has the interpreters of devices find them, or in that of this run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """The folder of that name, whole; nobody may change what lies in it."""
    folder = _place(factory) / name
    ready = folder.with_name(f"{folder.name}.ready")
    if not ready.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that was stopped half way
                make(folder)
                ready.touch()
    return folder


def _place(factory: pytest.TempPathFactory) -> Path:
    if named := os.environ.get("TAEMI_EDGE_TEST_BUNDLES"):
        return Path(named).resolve()
    own = factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once"
