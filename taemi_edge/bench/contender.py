"""Starts the process of one contender and sends it requests (see `taemi_edge.bench.worker`)."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from taemi_edge.bench.report import OURS
from taemi_edge.bench.worker import Answer, Opening, Request, json_line
from taemi_edge.errors import UsageError

#: The name of the bundle itself, run without CUDA graphs.
UNCAPTURED = f"{OURS}, no graph"


class Contender:
    """A process of `taemi_edge.bench.worker`; as a context manager it ends the process.

    Args:
        name: the contender's name in the report.
        opening: what the process opens.
        python: the interpreter that runs it.
        log: the file for its standard error.

    Raises:
        UsageError: the contender cannot be opened; the message is its own.
        OSError: the interpreter cannot be started.
    """

    def __init__(self, name: str, opening: Opening, python: str, log: Path) -> None:
        self.name, self._log = name, log
        #: The answer to the last request.
        self.last = Answer()
        environment = {**os.environ, "PYTHONPATH": import_path(python, log.parent)}
        environment |= {k: str(opening.threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if opening.threads}
        command = [python, "-m", "taemi_edge.bench.worker"]
        pipe = subprocess.PIPE
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, env=environment, text=True
            )
        try:
            answer = self._send(opening)
            if answer.failure:
                raise UsageError(answer.failure)
        except BaseException:  # opening takes long, and Ctrl-C may come meanwhile
            self.close()
            raise
        self.described = answer.described

    def ask(self, request: Request) -> Answer:
        """Send a request and wait for the answer.

        A process that died answers with the last line of its standard error as the failure.
        """
        self.last = self._send(request)
        return self.last

    def close(self) -> None:
        """End the process."""
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
                self._process.stdin.write(json_line(message))
                self._process.stdin.flush()
                line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return Answer(failure=f"its process died: {last[-1] if last else 'without a word'}")
        return msgspec.json.decode(line, type=Answer)


class Uncaptured(Contender):
    """A contender that runs what another one has prepared, in the same process, without CUDA graphs."""

    def __init__(self, captured: Contender) -> None:
        self.name, self.described = UNCAPTURED, {**captured.described, "graphs": "none"}
        self._captured = captured

    def ask(self, request: Request) -> Answer:
        """Send "run" requests to the other contender; answer the others as it answered last."""
        if request.do != "run":
            return self._captured.last if request.do == "prepare" else Answer()
        return self._captured.ask(msgspec.structs.replace(request, graphs=False))

    def close(self) -> None:
        """Do nothing: the process belongs to the other contender."""


def import_path(python: str, scratch: Path) -> str:
    """The `PYTHONPATH` with which an interpreter finds this package.

    Another interpreter gets this package alone, without the packages that are installed beside it.

    Args:
        python: the interpreter; `sys.executable` also keeps its own `PYTHONPATH`.
        scratch: a folder for a link to this package.
    """
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
