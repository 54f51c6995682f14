"""The exceptions that users may meet: each message says what was expected, what came and what to do.

TaemiError
├── UsageError             the command line asks for what cannot be (exit 2)
│   ├── OptionError        an option has a value that cannot be
│   └── MissingExtraError  an optional package is not installed
├── InputError             something that was read is not usable (exit 2)
│   ├── MediaError         a video or audio file
│   ├── MessageError       a message of a topic
│   ├── TranscriptError    a transcript
│   ├── RecipeError        a recipe (TOML)
│   ├── CorpusError        a corpus on disk: labels, ids, pickles
│   ├── StoreError         a feature store: incomplete, changed, or of another encoder
│   ├── CheckpointError    a checkpoint folder
│   ├── ContractError      the declaration of a model
│   ├── KeyFileError       a key or a certificate
│   ├── RegistryError      a registry: not reached, refused, or gave something else than was asked for
│   └── BundleError        a bundle: missing part, changed byte, unknown schema
│       └── SignatureError a bundle is not what the holder of a key signed (exit 1)
├── OutputError            a result could not be written (exit 2)
├── PlaceError             a bucket elsewhere cannot be reached, is not there, or refuses (exit 2)
├── ExportError            an exported graph is not what it must be (exit 2)
├── CalibrationError       a bundle cannot be calibrated on what was given (exit 2)
├── EngineError            an engine cannot be built, or may not be run (exit 2)
├── TrainingError          training cannot go on: a loss that is no number (exit 2)
├── BackendError           a backend failed while running (exit 2)
│   ├── DeviceLostError    the device is gone, and with it all that lay on it
│   └── ClusterError       a cluster cannot be reached, or a node of it cannot do the work
├── InterruptedRunError    Ctrl-C or another signal (exit 128 and its number: 130)
└── CheckFailedError       a parity or evaluation bar was not met (exit 1)
    └── UpdateError        an update was not made, and the device runs what it ran before (exit 1)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

#: A message that is longer is cut in its middle: its beginning says what is wrong, and its end what to do.
_MOST_CHARACTERS, _CUT_END = 2000, 500
#: So much of a wrong word is compared with the known ones, and repeated.
_LONGEST_WORD = 60
#: How alike words must be that begin differently.
_SURE = 0.75
_PLAIN_WORD = re.compile(r"[\w .,+-]*")


class TaemiError(Exception):
    """Base of every error that this package raises on purpose. Its message is one line that any terminal can show."""

    exit_code = 2

    def __str__(self) -> str:
        return in_one_line(super().__str__())


def in_one_line(text: str) -> str:
    """Give a text as one line of up to 2,000 signs, whatever a file or an address has put into it.

    Line ends and tabs become spaces. Signs that are not printable, which could move the cursor of a terminal or cannot
    be encoded, are spelled out.

    Example:
        >>> in_one_line("a.csv: expected a number,\\ngot '\\x1b[31m'")
        "a.csv: expected a number, got '\\\\x1b[31m'"
    """
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS - _CUT_END - 5]} ... {text[-_CUT_END:]}"
    if text.isprintable():
        return text
    plain = "".join(" " if sign.isspace() else sign if sign.isprintable() else _spelled(sign) for sign in text)
    return in_one_line(plain) if len(plain) > _MOST_CHARACTERS else plain


def printable(text: str) -> str:
    """A text that can be written in one line of UTF-8: what a file's name may hold beside that becomes `?`.

    Example:
        >>> printable("caf" + chr(0xDCE9) + chr(10) + ".mp4")
        'caf??.mp4'
    """
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def first_line(error: BaseException) -> str:
    """The first line of what a library says of an error, or the kind of the error where it says nothing.

    Example:
        >>> first_line(ValueError("no such layer\\nin graph a")), first_line(ValueError())
        ('no such layer', 'ValueError')
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def nearest(word: str, known: Sequence[str]) -> str:
    """What to add to a message about a wrong word: the known word that was probably meant; empty where none is near.

    Example:
        >>> nearest("tensort", ["cpu", "cuda", "tensorrt"]), nearest("x", ["cpu"])
        (": did you mean 'tensorrt'?", '')
    """
    lower = {name.lower(): name for name in reversed(known)}
    typed = word.lower()[:_LONGEST_WORD]
    near = difflib.get_close_matches(typed, list(lower), 1)
    if not near or (near[0][:1] != typed[:1] and difflib.SequenceMatcher(None, near[0], typed).ratio() < _SURE):
        return ""  # such as cpu for gpu
    return f": did you mean {lower[near[0]]!r}?"


def expected_one_of(known: Sequence[str], word: str | None = None) -> str:
    """Say which values there are, what came, and which one was probably meant.

    Args:
        known: all values of a fixed set.
        word: what came. What is no plain word is not repeated, since it may be an address with its password.

    Example:
        >>> expected_one_of(["header", "log", "auto"], "heder")
        "'heder': expected header, log or auto: did you mean 'header'?"
        >>> expected_one_of(["cpu", "cuda"])
        'expected cpu or cuda'
    """
    *others, last = known
    listed = f"expected {', '.join(others)} or {last}" if others else f"expected {last}"
    if word is None:
        return listed
    shown = f"{word[:_LONGEST_WORD]!r}: " if _PLAIN_WORD.fullmatch(word) else ""
    return f"{shown}{listed}{nearest(word, known)}"


def _spelled(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class UsageError(TaemiError):
    """A command or a call asks for something that cannot be done."""


class OptionError(UsageError):
    """An option has a value that cannot be. Python knows it by a name, and the command line by a flag.

    Args:
        option: the name in Python.
        flag: the flag of the command line.
        problem: what came and what was expected.

    Example:
        >>> error = OptionError("window_s", "--window", "0: expected seconds above 0")
        >>> str(error), error.flagged
        ('window_s 0: expected seconds above 0', '--window 0: expected seconds above 0')
    """

    def __init__(self, option: str, flag: str, problem: str) -> None:
        super().__init__(option, flag, problem)
        self.flagged = in_one_line(f"{flag} {problem}")

    def __str__(self) -> str:
        option, _, problem = self.args
        return in_one_line(f"{option} {problem}")


class MissingExtraError(UsageError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: run `pip install 'taemi-edge[{extra}]'`"
        )


class InputError(TaemiError):
    """Something that was read cannot be used."""


class MediaError(InputError):
    """A video or audio file cannot be opened or holds nothing to read."""


class MessageError(InputError):
    """A message of a topic cannot be decoded, or does not fit the stream that it feeds."""


class TranscriptError(InputError):
    """A transcript cannot be parsed; the message names the line."""


class RecipeError(InputError):
    """A recipe is missing, is not TOML or has a wrong key or value."""


class CorpusError(InputError):
    """A corpus on disk is not laid out as expected, or a file of it holds what it must not."""


class StoreError(InputError):
    """A feature store is incomplete, was changed, or was made with another encoder or chunking."""


class CheckpointError(InputError):
    """A checkpoint folder is incomplete or does not match its recipe."""


class ContractError(InputError):
    """A model is declared in a way that cannot work; the message names the stream, the head or the output."""


class RegistryError(InputError):
    """A registry cannot be reached, refuses a request, or gives something else than what was asked for."""


class BundleError(InputError):
    """A bundle is incomplete, was changed after it was made, or is of another schema."""


class SignatureError(BundleError):
    """A bundle is not signed, or not by the holder of that key, or is not what was signed."""

    exit_code = 1


class KeyFileError(InputError):
    """A key or a certificate cannot be read, or is of another kind than is needed."""


class OutputError(TaemiError):
    """A result could not be written."""


class PlaceError(TaemiError):
    """A bucket elsewhere cannot be reached, is not there, or refuses what was asked of it."""


class ExportError(TaemiError):
    """A part cannot be exported, or its graph does not do what the part does; the message names the cause."""


class CalibrationError(TaemiError):
    """A bundle cannot be calibrated on the clips that were given; the message names the tensor or the clips."""


class EngineError(TaemiError):
    """An engine cannot be built here, or an engine that is there may not be run."""


class InaccurateEngineError(EngineError):
    """No precision of a part gives what its tolerance asks for on this device."""


class TrainingError(TaemiError):
    """Training cannot go on; the last good state is kept."""


class BackendError(TaemiError):
    """A backend could not be opened, or failed while it ran."""


class DeviceLostError(BackendError):
    """The device failed for good or was taken away; what was opened on it cannot be used any more."""


class ClusterError(BackendError):
    """A cluster cannot be reached, one of its nodes cannot do the work, or workers were lost again and again."""


class InterruptedRunError(TaemiError):
    """The user stopped a command."""

    exit_code = 130


class CheckFailedError(TaemiError):
    """A parity or evaluation bar was not met."""

    exit_code = 1


class UpdateError(CheckFailedError):
    """An update was not made; the device runs what it ran before."""
