"""A real Triton server for the tests, from the wheel that `tools/install_triton.sh` unpacks.

`triton_server` starts it on a model repository and ends it, whatever happens in between: processes, temporary files and
the regions of shared memory that a killed server leaves in /dev/shm.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fleet.conftest import free_port

ROOT = Path(__file__).parents[3]
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: A server that is asked to end goes on with its sequences for so long.
EXIT_TIMEOUT_S = 2
#: Starting takes three seconds on an idle core.
START_TIMEOUT_S = 120


@dataclass(frozen=True)
class TritonServer:
    """A server that is ready.

    Attributes:
        http: the address of its HTTP interface, HOST:PORT; likewise `grpc` and `metrics`.
        process: the server itself; its models run in child processes, the stubs.
        log: what it and its models print.
    """

    http: str
    grpc: str
    metrics: str
    process: subprocess.Popen[bytes]
    log: Path

    def stubs(self) -> list[int]:
        """The processes that run Python models: each names its region of shared memory, whose prefix no other has."""
        found = []
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = command.read_text(encoding="utf-8", errors="replace")
                if "triton_python_backend_stub" in words and f"{self.log.parent.name}-" in words:
                    found.append(int(command.parent.name))
        return found

    def get(self, path: str, address: str = "") -> tuple[int, str]:
        """The status and the text of a page, by HTTP."""
        try:
            with urllib.request.urlopen(f"http://{address or self.http}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def metric(self, name: str, model: str) -> float:
        """A counter or gauge of a model, summed over its versions."""
        lines = re.findall(rf"^{name}{{([^}}]*)}} (\S+)$", self.get("/metrics", self.metrics)[1], re.MULTILINE)
        return sum(float(value) for labels, value in lines if f'model="{model}"' in labels)


@contextlib.contextmanager
def triton_server(repository: Path, *words: str, ready_s: float = START_TIMEOUT_S) -> Iterator[TritonServer]:
    """A server on a model repository, ready; it ends with the context.

    Args:
        repository: the folder of models.
        words: further words of tritonserver's command line.
        ready_s: how long it may take to start.

    Raises:
        AssertionError: it does not start; the end of its log says why.
    """
    triton = installed_triton()
    with tempfile.TemporaryDirectory(prefix="triton-") as scratch:
        prefix = f"{Path(scratch).name}-"
        try:
            server = _started(triton, repository, Path(scratch), ("python,shm-region-prefix-name=" + prefix, *words))
            try:
                _wait_until_ready(server, ready_s)
                yield server
            except BaseException:
                sys.stderr.write(f"the end of Triton's log:\n{_end_of(server.log)}\n")
                raise
            finally:
                _end(server)
        finally:
            for region in SHARED_MEMORY.glob(f"{prefix}*"):
                region.unlink(missing_ok=True)


def installed_triton() -> Path:
    """The server's folder; a test that asks for it is skipped where the server cannot be had."""
    if sys.platform != "linux" or not shutil.which("bash"):
        pytest.skip("Triton is a server for Linux")
    if _libpython_folder() is None:
        pytest.skip(f"Triton's stubs need libpython{PYTHON}.so: apt-get install libpython{PYTHON}")
    command = [str(ROOT / "tools/install_triton.sh")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    folder = Path(done.stdout.strip())
    if not (folder / "backends" / PYTHON).is_dir():
        pytest.skip(f"Triton's wheel has no stub for Python {PYTHON}")
    return folder


def _libpython_folder() -> str | None:
    """Where the library of this Python's version lies: beside this interpreter, or in a package of the system.

    An interpreter may be built without it (Debian keeps it in a package of its own, pyenv makes it when asked). Another
    build of the same version does as well: the stub takes everything else from the interpreter that it finds by PATH.
    """
    name = f"libpython{PYTHON}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), f"{sys.base_prefix}/lib"):
        if folder and Path(folder, name).is_file():
            return str(folder)
    return "" if ctypes.util.find_library(f"python{PYTHON}") else None


def _started(triton: Path, repository: Path, scratch: Path, words: tuple[str, ...]) -> TritonServer:
    backend_config, *others = words
    http, grpc, metrics = (free_port() for _ in range(3))
    command: list[str] = [str(triton / "bin/tritonserver"), "--model-repository", str(repository)]
    command += ["--backend-directory", str(triton / "backends" / PYTHON), "--backend-config", backend_config]
    command += ["--http-address", "127.0.0.1", "--http-port", str(http), "--grpc-address", "127.0.0.1"]
    command += ["--grpc-port", str(grpc), "--metrics-address", "127.0.0.1", "--metrics-port", str(metrics)]
    command += ["--allow-gpu-metrics=false", "--exit-timeout-secs", str(EXIT_TIMEOUT_S), *others]
    python = _environment_of_stubs(scratch / "python")
    libraries = [str(triton / "lib"), _libpython_folder(), os.environ.get("LD_LIBRARY_PATH")]
    environment = {
        **os.environ,
        "PATH": f"{python / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(folder for folder in libraries if folder),
    }
    log = scratch / "log.txt"
    if setpriv := shutil.which("setpriv"):  # a test process that is killed takes the server with it
        command = [setpriv, "--pdeathsig", "TERM", *command]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    return TritonServer(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", f"127.0.0.1:{metrics}", process, log)


def _environment_of_stubs(folder: Path) -> Path:
    """A virtual environment that imports this tree and what this interpreter has installed, which PATH leads stubs to.

    Stubs ignore PYTHONPATH, and the environment of the tests may have another tree installed.
    """
    packages = folder / "lib" / f"python{PYTHON}" / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n", encoding="utf-8")
    installed = sysconfig.get_path("purelib")
    (packages / "here.pth").write_text(f"{ROOT}\nimport site; site.addsitedir({installed!r})\n", encoding="utf-8")
    return folder


def _wait_until_ready(server: TritonServer, ready_s: float) -> None:
    until = time.monotonic() + ready_s
    while time.monotonic() < until:
        assert server.process.poll() is None, f"tritonserver ended with {server.process.returncode}"
        with contextlib.suppress(OSError):
            if server.get("/v2/health/ready")[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"tritonserver is not ready after {ready_s:g} s")


def _end(server: TritonServer) -> None:
    """End the server and its stubs, which outlive a server that is killed by some seconds.

    A server that was asked to end while sources went on may hang in its last moments.
    """
    server.process.terminate()
    try:
        server.process.wait(EXIT_TIMEOUT_S + 5)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    for _ in range(100):
        if not (stubs := server.stubs()):
            return
        for stub in stubs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stub, signal.SIGKILL)
        time.sleep(0.05)


def _end_of(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
