"""One contender as a process: requests go in, answers come out, and what it needs to import lies on its path."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from taemi_edge.bench.report import OURS
from taemi_edge.bench.worker import Answer, Opening, Request, encode
from taemi_edge.errors import UsageError

UNCAPTURED = f"{OURS}, no graph"


class Contender:
    """A `taemi_edge.bench.worker` process; a context manager that ends it.

    Raises:
        UsageError: it cannot be opened; the message has its own reason.
    """

    def __init__(self, name: str, opening: Opening, python: str, log: Path) -> None:
        self.name, self._log = name, log
        #: What came of the last request.
        self.last = Answer()
        environment = {**os.environ, "PYTHONPATH": import_path(python, log.parent)}
        environment |= {k: str(opening.threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if opening.threads}
        command = [python, "-m", "taemi_edge.bench.worker"]
        pipe = subprocess.PIPE
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, env=environment, text=True
            )
        answer = self._send(opening)
        if answer.failure:
            self.close()
            raise UsageError(answer.failure)
        self.described = answer.described

    def ask(self, request: Request) -> Answer:
        """What came of a request; a process that died answers with its last words."""
        self.last = self._send(request)
        return self.last

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: Opening | Request) -> Answer:
        line = ""
        if self._process.stdin is not None and self._process.stdout is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(encode(message))
                self._process.stdin.flush()
                line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return Answer(failure=f"its process died: {last[-1] if last else 'without a word'}")
        return msgspec.json.decode(line, type=Answer)


class Uncaptured(Contender):
    """A contender that shares another's process and what is prepared there, and runs it without graphs."""

    def __init__(self, captured: Contender) -> None:
        self.name, self.described = UNCAPTURED, {**captured.described, "graphs": "none"}
        self._captured = captured

    def ask(self, request: Request) -> Answer:
        if request.do != "run":
            return self._captured.last if request.do == "prepare" else Answer()
        return self._captured.ask(msgspec.structs.replace(request, graphs=False))

    def close(self) -> None:
        """The process is the other's."""


def import_path(python: str, scratch: Path) -> str:
    """This package for another interpreter, without what is installed beside it; for our own all that it has."""
    package = Path(__file__).parent.parent
    if python == sys.executable:
        return os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH", "")]))
    if (package.parent / "pyproject.toml").is_file():  # a checkout: nothing else lies there
        return str(package.parent)
    alone = scratch / "import"
    alone.mkdir(exist_ok=True)
    if not (alone / package.name).exists():
        (alone / package.name).symlink_to(package)
    return str(alone)
