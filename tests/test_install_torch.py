"""Where PyTorch is taken from, with a real pip and a real index on this machine that answers, hangs or refuses."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.install_size import PYTHONS, find_python

pytestmark = [pytest.mark.once, pytest.mark.slow]

SCRIPT = Path(__file__).parent.parent / "tools" / "install_torch.sh"
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
#: The interpreter of development in every run, the others by night: each needs a new environment.
INTERPRETERS = [pytest.param(each, marks=[] if each == HERE else pytest.mark.nightly) for each in PYTHONS]
#: No version of PyPI's, so that it can only come from the indexes of these tests.
VERSION = "9.9.9"


def _write_wheel(index: Path, name: str, version: str, *needs: str) -> None:
    """A wheel with one module that says which index it lay in, and its page by PEP 503."""
    page = index / name.replace("_", "-")
    page.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    )
    contents = {
        f"{name}.py": f"index = {index.name!r}\n",
        f"{info}/METADATA": metadata + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    file = page / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for path, text in {**contents, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)
    link = f'<a href="{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">{file.name}</a>'
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/hangs"):
            self.server.over.wait(60)  # type: ignore[attr-defined]
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Indexes:
    """A server with an index of wheels for processors, one that stands for PyPI, and one that hangs."""

    address: str
    seen: list[str]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory) -> Iterator[Indexes]:
    root = tmp_path_factory.mktemp("indexes")
    _write_wheel(root / "cpu", "torch", f"{VERSION}+cpu", "taemi_torch_needs")
    _write_wheel(root / "cpu", "taemi_torch_needs", "99.0")  # what an index must not slip in
    _write_wheel(root / "pypi", "torch", VERSION, "taemi_torch_needs", "nvidia_taemi_stub")
    _write_wheel(root / "pypi", "taemi_torch_needs", "1.0")
    _write_wheel(root / "pypi", "nvidia_taemi_stub", "1.0")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(root))) as server:
        server.daemon_threads = True
        server.seen, server.over = [], threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Indexes(f"http://127.0.0.1:{server.server_port}", server.seen)  # type: ignore[attr-defined]
        finally:
            server.over.set()  # type: ignore[attr-defined]
            server.shutdown()


@pytest.fixture(scope="module")
def fresh_environment(tmp_path_factory):
    """Gives a new virtual environment of a CPython with pip, copied from the first of that kind."""
    originals: dict[str, Path] = {}

    def fresh(python: str) -> Path:
        if python not in originals:
            originals[python] = tmp_path_factory.mktemp("venv") / "venv"
            subprocess.run([python, "-m", "venv", str(originals[python])], check=True)
        copy = tmp_path_factory.mktemp("copy") / "venv"
        shutil.copytree(originals[python], copy, symlinks=True)
        return copy

    return fresh


def _install(venv: Path, tmp_path: Path, indexes: Indexes, cpu_index: str, **more: str) -> tuple[str, float]:
    """Run the script as the Makefile does; gives what it said, and its seconds."""
    settings = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_EXTRA_INDEX_URL": f"{indexes.address}/pypi",
        "PIP_RETRIES": "0",
        "PIP_TIMEOUT": "10",
        "PIP_NO_CACHE_DIR": "1",
        "TORCH_CPU_INDEX": cpu_index,
    }
    for name in ("PIP_CERT", "HTTPS_PROXY", "https_proxy"):  # what this machine reaches PyPI by
        if name in os.environ:
            settings[name] = os.environ[name]
    begun = time.monotonic()
    command = [str(SCRIPT), str(venv), VERSION]
    done = subprocess.run(command, env={**settings, **more}, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stderr, time.monotonic() - begun


def _installed(venv: Path) -> dict[str, str]:
    command = [str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {
        each["name"].replace("_", "-"): each["version"]
        for each in listed
        if "t" in each["name"] and each["name"] not in ("pip", "setuptools")
    }


def _closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/cpu"


def _python(version: str) -> str:
    if version == HERE:
        return sys.executable
    found = find_python(version)
    if found is None:
        pytest.skip(f"CPython {version} is not on this machine")
    return found


@pytest.mark.parametrize("version", INTERPRETERS)
def test_an_index_that_answers_gives_torch_and_nothing_else(version, fresh_environment, indexes, tmp_path):
    venv = fresh_environment(_python(version))
    said, _ = _install(venv, tmp_path, indexes, f"{indexes.address}/cpu")
    assert said.count("\n") == 1
    assert f"no NVIDIA GPU is here: PyTorch's wheel for processors is taken from {indexes.address}/cpu" in said
    assert _installed(venv) == {"torch": f"{VERSION}+cpu"}, "what torch needs comes with the rest, from PyPI"
    assert "/cpu/taemi-torch-needs/" not in indexes.seen


@pytest.mark.parametrize("version", INTERPRETERS)
def test_where_the_index_refuses_it_is_said_what_comes(version, fresh_environment, indexes, tmp_path):
    venv = fresh_environment(_python(version))
    said, _ = _install(venv, tmp_path, indexes, _closed_port())
    assert "does not answer: PyPI is asked for PyTorch instead" in said
    assert "NVIDIA's CUDA libraries: about 3 GB are fetched, and the environment takes 5.8 GB" in said
    assert _installed(venv) == {"nvidia-taemi-stub": "1.0", "taemi-torch-needs": "1.0", "torch": VERSION}


def test_an_index_that_hangs_costs_seconds(fresh_environment, indexes, tmp_path):
    venv = fresh_environment(sys.executable)
    said, seconds = _install(venv, tmp_path, indexes, f"{indexes.address}/hangs")
    assert "does not answer" in said
    assert _installed(venv)["torch"] == VERSION
    assert seconds < 100


def test_an_index_without_this_version_is_not_taken(fresh_environment, indexes, tmp_path):
    venv = fresh_environment(sys.executable)
    said, _ = _install(venv, tmp_path, indexes, f"{indexes.address}/empty")
    assert "does not answer" in said
    assert _installed(venv)["torch"] == VERSION


def test_who_has_an_index_of_their_own_gets_torch_from_there(fresh_environment, indexes, tmp_path):
    venv = fresh_environment(sys.executable)
    before = len(indexes.seen)
    own = f"{indexes.address}/pypi"
    said, _ = _install(venv, tmp_path, indexes, f"{indexes.address}/cpu", PIP_INDEX_URL=own, PIP_EXTRA_INDEX_URL=own)
    assert not said
    assert _installed(venv)["torch"] == VERSION
    assert not [path for path in indexes.seen[before:] if path.startswith("/cpu")]


def test_who_may_ask_no_index_is_not_made_to(fresh_environment, indexes, tmp_path):
    venv, wheels = fresh_environment(sys.executable), tmp_path / "wheels"
    _write_wheel(wheels, "torch", VERSION)
    before = len(indexes.seen)
    found = str(wheels / "torch")
    said, _ = _install(venv, tmp_path, indexes, f"{indexes.address}/cpu", PIP_NO_INDEX="1", PIP_FIND_LINKS=found)
    assert not said
    assert _installed(venv)["torch"] == VERSION
    assert len(indexes.seen) == before


def test_a_machine_with_a_gpu_takes_what_pypi_has(fresh_environment, indexes, tmp_path):
    """The driver's tool is a stand-in: no GPU is here."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GeForce RTX 3060'\n")
    tool.chmod(0o755)
    venv = fresh_environment(sys.executable)
    path = f"{tool.parent}:{os.environ['PATH']}"
    said, _ = _install(venv, tmp_path, indexes, f"{indexes.address}/cpu", PATH=path)
    assert not said
    assert _installed(venv)["torch"] == VERSION


def test_what_is_there_is_left_alone(fresh_environment, indexes, tmp_path):
    venv = fresh_environment(sys.executable)
    _install(venv, tmp_path, indexes, f"{indexes.address}/cpu")
    before = len(indexes.seen)
    said, _ = _install(venv, tmp_path, indexes, f"{indexes.address}/cpu")
    assert not said
    assert len(indexes.seen) == before
