"""Makes a folder that stands for an arm64 machine: Debian's Python, the wheels of the lock, and QEMU to run them.

Nothing is installed on this machine and no rights are needed: packages of Debian are unpacked and never configured, and
`uv` puts the wheels of the other architecture into a folder. QEMU looks up every path in the unpacked root first, so
neither chroot nor binfmt is asked for. The emulator comes from a newer Debian than the root: QEMU shows the emulated
processor in /proc/cpuinfo from 8.1 on, and before that the host's, on which ONNX Runtime 1.28 and later crash.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: The Debian of the root, for its CPython 3.11; and the one whose QEMU runs it.
ROOT_SUITE, EMULATOR_SUITE = "bookworm", "trixie"
_PYTHON = "3.11"
_PACKAGES = (f"python{_PYTHON}", "libstdc++6")
_CHECKOUT = Path(__file__).resolve().parents[2]
_LOCK = _CHECKOUT / "requirements" / "locks" / f"device-cp{_PYTHON.replace('.', '')}.txt"


class ToolError(Exception):
    """What is missing here, in one sentence."""


@dataclass(frozen=True)
class MachineRoot:
    """An arm64 machine in a folder.

    Attributes:
        folder: has `root/`, `site/` and `qemu/`.
    """

    folder: Path

    @property
    def emulator_version(self) -> str:
        """Such as "10.0.13"."""
        return run([self.emulator("aarch64"), "--version"]).split()[2]

    def emulator(self, architecture: str) -> Path:
        """QEMU for programs of an architecture."""
        return self.folder / "qemu" / "usr" / "bin" / f"qemu-{architecture}"

    def python_on(self, processor: str) -> Path:
        """An interpreter that runs on a processor that QEMU knows, such as "cortex-a76".

        It is a script, and Python takes it for its own name: processes that it starts with `sys.executable` are
        emulated as well.
        """
        script = self.folder / "bin" / f"python-{processor}"
        script.parent.mkdir(exist_ok=True)
        root = self.folder / "root"
        words = f'-cpu {processor} -L {root} -0 "$0" {root}/usr/bin/python{_PYTHON} "$@"'
        site = f"PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={self.folder / 'site'}"
        script.write_text(f"#!/bin/sh\n{site} exec {self.emulator('aarch64')} {words}\n")
        script.chmod(0o755)
        return script


def make_machine_root(folder: Path) -> MachineRoot:
    """Make the machine; what is there already is kept.

    Args:
        folder: where it is made; about 600 MB.

    Raises:
        ToolError: this machine is no Debian, a program is missing, or a package cannot be fetched.
    """
    machine = MachineRoot(folder.resolve())
    _unpack_once(machine.folder / "root", "arm64", ROOT_SUITE, _PACKAGES)
    _unpack_once(machine.folder / "qemu", run(["dpkg", "--print-architecture"]).strip(), EMULATOR_SUITE, ("qemu-user",))
    _install_wheels(machine.folder / "site")
    return machine


def run(
    words: Sequence[str | Path],
    seconds: float = 600,
    codes: Sequence[int] = (0,),
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end.

    Args:
        words: the program and its arguments.
        seconds: how long it may take.
        codes: exit codes that are no failure.
        variables: what is set in its environment.

    Returns:
        What it printed.

    Raises:
        ToolError: it is not installed, failed, or took too long.
    """
    environment = {**os.environ, **(variables or {})}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise ToolError(f"expected the program {words[0]}, which is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{Path(words[0]).name}: took longer than {seconds:g} s") from error
    if done.returncode not in codes:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise ToolError(f"{Path(words[0]).name} failed with {done.returncode}: {last}")
    return done.stdout


def _unpack_once(target: Path, architecture: str, suite: str, packages: Sequence[str]) -> None:
    """Fetch packages of an architecture, with all that they need, and unpack them into a folder."""
    if target.exists():
        return
    state = target.with_name(f"{target.name}-apt")
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={_keyring()}] {_mirror()} {suite} main\n")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Dir::State": str(state),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state),
        "Dir::Etc::sourcelist": str(state / "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
    }
    apt = ["apt-get", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    run([*apt, "update"])
    run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *packages])
    draft = target.with_name(f"{target.name}-draft")
    shutil.rmtree(draft, ignore_errors=True)
    for archive in sorted((state / "archives").glob("*.deb")):
        run(["dpkg-deb", "--extract", archive, draft])
    draft.rename(target)
    shutil.rmtree(state)


def _mirror() -> str:
    """The mirror of Debian that this machine uses."""
    told = run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"])
    mirrors = [line.split()[-1] for line in told.splitlines() if line.startswith("Debian Debian ")]
    if not mirrors:
        raise ToolError("expected a Debian whose lists of packages are there: on Debian, run `apt-get update` first")
    return mirrors[0]


def _keyring() -> Path:
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if not keyring.is_file():
        raise ToolError(f"expected {keyring}, found none: install debian-archive-keyring")
    return keyring


def _install_wheels(site: Path) -> None:
    """Put the wheels of the lock and this checkout's own into a folder; the own one anew each time."""
    uv = shutil.which("uv") or _CHECKOUT / ".venv" / "bin" / "uv"
    words: list[str | Path] = [uv, "pip", "install", "--quiet", "--python-version", _PYTHON, "--target", site]
    words += ["--python-platform", "aarch64-manylinux_2_28"]
    if not site.exists():
        run([*words, "--only-binary", ":all:", "--require-hashes", "-r", _LOCK])
    run([*words, "--no-deps", "--reinstall", _CHECKOUT])
