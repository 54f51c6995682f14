"""What a fuzzed parser is, and what counts as a finding.

A parser may take an input, or refuse it with an error of this package whose message is one line. Anything else is a
finding: another exception, a message that is no line, more than two seconds, more than 300 MB, the end of the process.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from taemi_edge.errors import TaemiError

SEEDS = Path(__file__).parent / "seeds"
MOST_SECONDS = 2.0
MOST_MEMORY_MB = 300
#: A message that is longer fills the screen of a terminal.
MOST_CHARACTERS = 2000
#: Files are written here: in memory where the machine has such a folder.
SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
#: Names the folder that a campaign has there.
SCRATCH_VARIABLE = "TAEMI_EDGE_FUZZ_SCRATCH"

Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Harness:
    """A parser that is fuzzed.

    Attributes:
        name: of the parser, and of the folder of its seeds.
        run: hands an input to the parser.
        mutate: changes an input where it keeps its structure; None where single bytes are enough.
        share: of the time, where an ordinary parser has 1.
        refusals: the errors by which the parser may refuse an input.
        needs: packages without which it cannot run.
        most_bytes: longer inputs are not made.
    """

    name: str
    run: Callable[[bytes], object]
    mutate: Mutator | None = None
    share: float = 1.0
    refusals: tuple[type[Exception], ...] = (TaemiError,)
    needs: tuple[str, ...] = ()
    most_bytes: int = 65_536

    @property
    def seeds(self) -> list[Path]:
        """The files of its seeds."""
        return sorted((SEEDS / self.name).iterdir())

    @property
    def module(self) -> str:
        """The module of `tests/fuzz/parsers` that it is in."""
        return self.run.__module__.rpartition(".")[2]

    @property
    def lacking(self) -> list[str]:
        """The packages that it needs and that are not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


@dataclass(frozen=True)
class Finding:
    """What is wrong with a parser.

    Attributes:
        what: a line, such as "KeyError: 'start'".
        place: the line of code where it was raised; the same place is reported once.
        details: the traceback.
    """

    what: str
    place: str
    details: str


def harnesses_of(module: str) -> dict[str, Harness]:
    """The parsers of a module of `tests/fuzz/parsers`, by their names."""
    found: tuple[Harness, ...] = importlib.import_module(f"tests.fuzz.parsers.{module}").HARNESSES
    return {harness.name: harness for harness in found}


def all_harnesses() -> dict[str, Harness]:
    """Every parser by its name: each module in `tests/fuzz/parsers` has a tuple HARNESSES."""
    modules = sorted(file.stem for file in (Path(__file__).parent / "parsers").glob("*.py") if file.stem != "__init__")
    return {name: harness for module in modules for name, harness in harnesses_of(module).items()}


def judge(harness: Harness, content: bytes) -> tuple[Finding | None, float]:
    """Give an input to a parser.

    Returns:
        What is wrong, None where the input was taken or refused in good order and in time; and the seconds it took,
        without those in which another program had the processor.
    """
    finding, seconds, of_processor = _run(harness, content)
    if finding is None and seconds > MOST_SECONDS:  # another program may have had the processor: once more
        waited_s = _waited_s()
        finding, again, of_processor = _run(harness, content)
        seconds = min(seconds, again - (_waited_s() - waited_s))
        if finding is None and seconds > MOST_SECONDS:
            return Finding(f"it took {seconds:.1f} s", f"slow {harness.name}", ""), seconds
    return finding, min(seconds, of_processor)


def _run(harness: Harness, content: bytes) -> tuple[Finding | None, float, float]:
    began, began_of_processor = time.perf_counter(), time.process_time()
    finding = None
    try:
        harness.run(content)
    except harness.refusals as error:
        finding = _wrong_message(error)
    except Exception as error:  # noqa: BLE001  (this is what fuzzing looks for)
        finding = _of_error(f"{type(error).__name__}: {error}", error)
    return finding, time.perf_counter() - began, time.process_time() - began_of_processor


def _waited_s() -> float:
    """How long this thread was ready to run and had no processor, in seconds, as Linux counts it."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _wrong_message(error: Exception) -> Finding | None:
    """A finding where the message of a refusal is no line that can be shown."""
    text = str(error)
    problem = None
    if len(text) > MOST_CHARACTERS:
        problem = f"a message of {len(text)} characters"
    elif not text.strip():
        problem = "an empty message"
    elif any(not sign.isprintable() for sign in text):
        problem = "a message with signs that are not printable"
    return _of_error(f"{problem}: {type(error).__name__}: {text!r:.300}", error) if problem else None


def _of_error(what: str, error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "taemi_edge" in frame.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {type(error).__name__}"
    details = "".join(traceback.format_exception(error))
    return Finding(what[:400], where, details[-20_000:])


@cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the files of this process. That of a campaign is removed with the campaign's own."""
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=os.environ.get(SCRATCH_VARIABLE, SCRATCH))


def as_file(content: bytes, name: str) -> Path:
    """A file of that name with the content; the next input of the same name replaces it."""
    file = Path(scratch().name, name)
    with open(file, "wb") as stream:
        stream.write(content)
    return file
