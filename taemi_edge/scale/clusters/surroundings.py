"""What Ray finds in a process and changes there: environment, signals, standard streams, and parts of Ray itself.

Everything is put back at the end. What Ray does not promise is looked up with care: another Ray may lack it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def environment(names: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def environment_put_back() -> Iterator[None]:
    """Put back at the end what Ray and this module set in the environment: the next cluster may know no tokens."""
    before = {name: value for name, value in os.environ.items() if _is_of_ray(name)}
    try:
        yield
    finally:
        for name in filter(_is_of_ray, list(os.environ)):
            if name not in before:
                del os.environ[name]
        os.environ.update(before)
        with suppress(ImportError, AttributeError):  # a Ray that does not keep what it has read
            native: Any = importlib.import_module("ray._raylet")
            native.Config.initialize("")
            native.AuthenticationTokenLoader.instance().reset_cache()


def _is_of_ray(name: str) -> bool:
    """Whether a variable is one that Ray sets; that of its client is set once, as it is imported."""
    return name == "PYTHONBREAKPOINT" or (name.startswith("RAY_") and name != "RAY_CLIENT_MODE")


@contextmanager
def own_signals() -> Iterator[None]:
    """Keep the handlers of this process: Ray's own for SIGTERM ends a driver without a word and an exit code of 15.

    Its native code has one more, which prints where the process is and ends it: Python's is installed again above it.
    """
    with replaced(private("utils"), "set_sigterm_handler", lambda _: None):
        try:
            yield
        finally:
            handler = signal.getsignal(signal.SIGTERM)
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)


def private(name: str) -> Any:
    """Give a module that Ray does not promise; None where this Ray has no such one, and then does without."""
    try:
        return importlib.import_module(f"ray._private.{name}")
    except ImportError:
        return None


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Put something in the place of a module's attribute meanwhile; a Ray that does not have it is left alone."""
    if not hasattr(module, name):
        yield
        return
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def quiet_output() -> Iterator[None]:
    """Keep standard output for the results of the command: Ray would print there what happens to its workers.

    No option of Ray 2.60 turns that off; what is lost is told by `crew.py`.
    """
    with replaced(private("worker"), "print_to_stdstream", lambda *_, **__: None):
        yield


@contextmanager
def errors_kept() -> Iterator[Any]:
    """Keep what native code writes to standard error meanwhile; gives a function that tells it."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def kept() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield kept
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
