"""How a command ends: with one sentence and the right exit code, whatever ends it, and without a traceback.

A command may be stopped by a signal at any moment, and its standard streams may be closed, full, or read by a program
that goes away. SIGTERM and SIGHUP are raised as Ctrl-C is, so that all clean up in the same way.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from taemi_edge.bundle.signals import STOP_SIGNALS, StoppedError
from taemi_edge.cli.typed_addresses import without_addresses
from taemi_edge.cli.unforeseen import UnforeseenError, defect, exit_code_of_defect, say_traceback
from taemi_edge.errors import InterruptedRunError, OptionError, OutputError, TaemiError, first_line, in_one_line

#: Exit codes above this one say that a signal stopped a command.
_SIGNALLED = 128
#: Libraries whose native threads crash now and then while Python shuts down, where a signal has ended their servers:
#: 143 became -11. Then the process ends at once, after what was registered for its end.
_NATIVE_THREADS = {"ray"}
#: The signals that have stopped this process.
_received: list[int] = []


class _ReaderGoneError(TaemiError):
    """The program that reads standard output ended first, as `head` does: nobody is left to be told."""

    exit_code = 128 + signal.SIGPIPE


def run_as_program(command: Callable[[], Any]) -> int:
    """Run a command as what this process is for, and give its exit code; see `exit_code_of`.

    Signals and standard streams are this command's from here on.
    """
    open_standard_streams()
    stop_on_signals()
    code = exit_code_of(command)
    for number in STOP_SIGNALS:  # what Python still does from here on needs no traceback, nor a second exit code
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_IGN if _received else signal.SIG_DFL)
    written = exit_code_of(sys.stdout.flush) if code == 0 else _flush_if_possible()
    _discard_output()
    if code > _SIGNALLED and _NATIVE_THREADS.intersection(sys.modules):
        atexit._run_exitfuncs()
        os._exit(code)
    return code or written


def exit_code_of(command: Callable[[], Any]) -> int:
    """Run a command and give its exit code; what went wrong is said in one sentence on standard error.

    The exit code is 0 where all is done, 1 where a check failed, 2 for wrong use, bad input or what could not be
    written, 70 for an error that nobody foresaw, 130 after Ctrl-C, 143 after SIGTERM, and 141 where the reader of
    standard output went away.
    """
    try:
        with stops_as_errors():
            command()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        return say_error(UnforeseenError(defect(end)), end)
    except BaseException as error:  # noqa: BLE001 - a defect, or a panic of a library in Rust: no Exception
        return say_error(error, error)
    return 0


def say_error(error: BaseException, origin: BaseException) -> int:
    """Say in one sentence what ended a command, and give its exit code."""
    if sentence := _sentence(error):
        sys.stderr.write(f"taemi-edge: {without_addresses(in_one_line(sentence), sys.argv[1:])}\n")
        say_traceback(origin)
    if isinstance(error, TaemiError):
        return error.exit_code
    return 2 if isinstance(error, MemoryError | OSError) else exit_code_of_defect(error)


@contextmanager
def stops_as_errors() -> Iterator[None]:
    """Turn Ctrl-C and other signals into an error of this package."""
    try:
        yield
    except InterruptedRunError:
        raise
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, StoppedError):
            number = error.number
        elif isinstance(error, KeyboardInterrupt):
            number = signal.SIGINT
        elif _received:  # a library made another error of it: "initialization failed" where a module was imported
            number = _received[0]
        else:
            raise
        stopped = InterruptedRunError("interrupted: what was written so far is whole")
        stopped.exit_code = 128 + number
        raise stopped from error


def _sentence(error: BaseException) -> str:
    if isinstance(error, OptionError):
        return error.flagged
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"not enough memory{detail}: ask for less, or use a larger machine"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return str(error) if isinstance(error, TaemiError) else defect(error)


def stop_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does; a signal that is ignored (nohup) stays ignored."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    sys.unraisablehook = _raise_again
    threading.excepthook = _say_of_thread


def _stop(number: int, _frame: object) -> None:
    _received.append(number)
    raise StoppedError(number)


def _raise_again(what: Any) -> None:
    """A signal that arrives in a destructor or a callback from native code would be lost there: send it again."""
    if isinstance(what.exc_value, KeyboardInterrupt):
        number = what.exc_value.number if isinstance(what.exc_value, StoppedError) else signal.SIGINT
        sender = threading.Timer(0.01, os.kill, (os.getpid(), number))  # once this hook is through
        sender.daemon = True
        sender.start()
    elif what.exc_value is not None:
        _note(f"an error while something was cleaned up: {_named(what.exc_value)}", what.exc_value)


def _say_of_thread(what: Any) -> None:
    """A thread ended with an error that nobody foresaw: the command goes on without it, as Python has it."""
    if what.exc_value is not None and not isinstance(what.exc_value, SystemExit):
        _note(defect(what.exc_value), what.exc_value)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _note(text: str, error: BaseException) -> None:
    sys.stderr.write(f"taemi-edge: {without_addresses(in_one_line(text), sys.argv[1:])}\n")
    say_traceback(error)


def open_standard_streams() -> None:
    """Put something behind standard streams that are closed, and let failures of writing be known for what they are.

    A closed standard output cannot be written to: that is said once something is. A closed or full standard error
    loses what is written to it. No file that is opened later gets one of the three numbers.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = _over(1, sys.stdout, _Output)
    sys.stderr = _over(2, sys.stderr, _Errors)


def _over(number: int, before: TextIO | None, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    """A stream in place of one that Python opened; what its encoding cannot hold is written as an escape."""
    encoding = before.encoding if before is not None else "utf-8"
    if before is not None:
        with suppress(OSError):
            before.flush()
    raw = io.FileIO(number, "w", closefd=False)
    return kind(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=number == 2 or raw.isatty())


class _Output(io.TextIOWrapper):
    """Standard output: what cannot be written is an error of this package, apart from a reader who is gone."""

    def write(self, text: str) -> int:
        with _told():
            return super().write(text)

    def flush(self) -> None:
        with _told():
            super().flush()


class _Errors(io.TextIOWrapper):
    """Standard error: where it cannot be written there is nobody to tell."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            super().flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}: send it elsewhere") from error


def _flush_if_possible() -> int:
    with suppress(OSError, TaemiError):
        sys.stdout.flush()
    return 0


def _discard_output() -> None:
    """Throw away what standard output still holds, so that the interpreter's own flush stays quiet."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.close(silence)
