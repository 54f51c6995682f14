"""Functions that workers of a cluster call in tests; they are imported by their names."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from taemi_edge.errors import MediaError

_prepared: list[object] = []


def prepare(words: bytes, folder: Path) -> None:
    _prepared[:] = [words, folder]


def prepare_badly(_: object) -> None:
    raise MediaError("x.mp4: cannot be read")


def prepare_never() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def square(number: int) -> int:
    return number * number


def told(number: int) -> tuple[int, int, int, str]:
    words, folder = _prepared
    time.sleep(0.1)  # long enough for the other workers to take some of the tasks
    (Path(folder) / f"{number}-{os.getpid()}").touch()
    return number, os.getpid(), len(words), os.environ["OMP_NUM_THREADS"]


def fails_at_4(number: int) -> int:
    if number == 4:
        raise MediaError("x.mp4: cannot be read")
    return number


def breaks_at_4(number: int) -> int:
    return number // (number - 4)


def dies_once(task: tuple[int, Path]) -> int:
    number, mark = task
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def dies(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow(task: tuple[int, Path]) -> int:
    number, folder = task
    time.sleep(0.2)
    (folder / f"{number}-{os.getpid()}").touch()
    return number
