"""Measures how long it takes from `pip install` of the wheel to a prediction, and what lies on the disk then.

    python benchmarks/first_prediction.py --output benchmarks/first-prediction.json
    python benchmarks/first_prediction.py --aarch64 runs/aarch64 --output benchmarks/first-prediction-aarch64.json

The wheel is built once. For each CPython it makes a clean virtual environment, installs the wheel, and runs the model
that ships on the clip that ships, until the first line of JSON. pip has every file in its cache, since it installed
them once before the clock ran; the index is asked for versions. The second run shows what the first one had to read
from the disk. With --aarch64 the same is done for arm64: `uv` puts the wheels into a folder, and an emulated processor
runs them. That folder is made by `make aarch64`; nothing there is changed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from taemi_edge.bench.provenance import write_report
from tools.aarch64.machine_root import MachineRoot

VERSIONS = ("3.10", "3.11", "3.12")
MODEL = "taemi-nano"
#: What every virtual environment has, and what is no part of an installation.
_NOT_OURS = ("pip", "setuptools", "wheel")
_PROCESSOR = "cortex-a76"
#: Where commands run: Python would find the checkout before what is installed if they ran in it.
_ELSEWHERE = tempfile.gettempdir()
#: Prints what every installed distribution takes, by its own record.
_SIZES = """
import importlib.metadata as m, json, os
found = {}
for d in m.distributions():
    files = [os.path.realpath(d.locate_file(f)) for f in d.files or ()]
    here = [f for f in files if os.path.isfile(f)]
    size = sum(map(os.path.getsize, here))
    found[d.metadata["Name"].lower()] = {"version": d.version, "bytes": size, "files": len(here)}
print(json.dumps(found))
"""


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--output", type=Path, help="the JSON file to write; else it is printed")
    words.add_argument("--python", action="append", metavar="3.N", help="only this version; repeatable")
    words.add_argument("--aarch64", type=Path, metavar="DIR", help="measure on an emulated arm64 machine instead")
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-prediction-") as scratch:
        wheel = built_wheel(Path(scratch))
        if given.aarch64:
            found = {"aarch64": on_aarch64(wheel, given.aarch64.resolve(), Path(scratch))}
        else:
            found = {version: on_python(version, wheel, Path(scratch)) for version in given.python or VERSIONS}
        report = {
            "about": "From pip install of the wheel to a prediction in a clean environment",
            "index": "pip's cache holds every file; the index is asked for versions",
            "wheel_bytes": wheel.stat().st_size,
            "python": found,
        }
    if given.output:
        write_report(given.output, report, "onnxruntime", "numpy")
    else:
        print(json.dumps(report, indent=2))


def built_wheel(scratch: Path) -> Path:
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", scratch, ROOT])
    return next(scratch.glob("taemi_edge-*.whl"))


def on_python(version: str, wheel: Path, scratch: Path) -> dict[str, Any]:
    """What an installation takes on one CPython, and how long until its first predictions."""
    python = interpreter(version)
    environment = scratch / f"venv-{version}"
    seconds = 0.0
    for _ in range(2):  # the first one fills pip's cache
        shutil.rmtree(environment, ignore_errors=True)
        run([python, "-m", "venv", environment])
        started = time.perf_counter()
        run([environment / "bin" / "python", "-m", "pip", "install", "-q", wheel])
        seconds = time.perf_counter() - started
    print(f"CPython {version}: installed in {seconds:.1f} s", flush=True)
    command: list[Path | str] = [environment / "bin" / "taemi-edge"]
    runs = measured_runs(command, environment / "bin" / "python")
    sizes = json.loads(run([environment / "bin" / "python", "-c", _SIZES]))
    return {
        "version": run([environment / "bin" / "python", "-V"]).split()[1],
        "pip": run([environment / "bin" / "python", "-m", "pip", "-V"]).split()[1],
        "install_s": round(seconds, 2),
        **runs,
        "install_and_first_line_s": round(seconds + runs["first_line_s"], 2),
        **on_disk(sizes),
    }


def on_aarch64(wheel: Path, folder: Path, scratch: Path) -> dict[str, Any]:
    """The same on an emulated arm64 machine; its folder is only read."""
    machine = MachineRoot(scratch / "aarch64")
    machine.folder.mkdir()
    for name in ("root", "qemu"):
        (machine.folder / name).symlink_to(folder / name)
    uv = shutil.which("uv") or str(ROOT / ".venv" / "bin" / "uv")
    site = machine.folder / "site"
    wanted = ["--python-version", "3.11", "--python-platform", "aarch64-manylinux_2_28", "--only-binary", ":all:"]
    seconds = 0.0
    for _ in range(2):
        shutil.rmtree(site, ignore_errors=True)
        started = time.perf_counter()
        run([uv, "pip", "install", "--quiet", *wanted, "--target", site, wheel])
        seconds = time.perf_counter() - started
    python = machine.python_on(_PROCESSOR)
    runs = measured_runs([python, "-m", "taemi_edge"], python, assets=site / "taemi_edge" / "assets")
    sizes = json.loads(run([sys.executable, "-c", _SIZES], {"PYTHONPATH": str(site)}, isolated=True))
    here = {entry.name.partition("-")[0].replace("_", "-").lower() for entry in site.glob("*.dist-info")}
    return {
        "version": "3.11",
        "emulated": f"{_PROCESSOR} by QEMU {machine.emulator_version}",
        "installer": f"{run([uv, '--version']).strip()} into a folder, on this machine",
        "install_s": round(seconds, 2),
        **runs,
        **on_disk({name: size for name, size in sizes.items() if name.replace("_", "-") in here}),
    }


def measured_runs(command: Sequence[Path | str], python: Path, assets: Path | None = None) -> dict[str, Any]:
    """Seconds until the first line and the end of `run`, for the first run and the one after it."""
    if assets is None:
        place = "import taemi_edge, pathlib; print(pathlib.Path(taemi_edge.__file__).parent / 'assets')"
        assets = Path(run([python, "-c", place]).strip())
    first = timed_run([*command, "run", MODEL, assets / "demo.mp4"])
    second = timed_run([*command, "run", MODEL, assets / "demo.mp4"])
    return {
        "first_line_s": first["first_line_s"],
        "whole_clip_s": first["whole_clip_s"],
        "second_run_first_line_s": second["first_line_s"],
        "lines": first["lines"],
        "first_prediction": first["line"],
    }


def timed_run(words: Sequence[Path | str]) -> dict[str, Any]:
    environment = clean_environment() | {"PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd=_ELSEWHERE
    ) as running:
        if running.stdout is None:
            raise AssertionError("its output is read")
        line = running.stdout.readline()
        first = time.perf_counter() - started
        rest = running.stdout.readlines()
    if running.returncode or not line:
        raise SystemExit(f"{words[0]}: ended with {running.returncode} and gave no prediction")
    whole = time.perf_counter() - started
    made = json.loads(line)
    shown = {name: made[name] for name in ("time_s", "intensities", "presence")}
    return {"first_line_s": round(first, 2), "whole_clip_s": round(whole, 2), "lines": 1 + len(rest), "line": shown}


def on_disk(sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What every package takes, the largest first."""
    ours = {name: size for name, size in sizes.items() if name not in _NOT_OURS}
    return {
        "installed_bytes": sum(size["bytes"] for size in ours.values()),
        "installed_files": sum(size["files"] for size in ours.values()),
        "packages": dict(sorted(ours.items(), key=lambda item: -item[1]["bytes"])),
    }


def interpreter(version: str) -> Path:
    """An interpreter of that version, from pyenv or the PATH."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    elsewhere = shutil.which(f"python{version}")
    found = [*sorted((home / "versions").glob(f"{version}.*/bin/python")), *([Path(elsewhere)] if elsewhere else [])]
    if not found:
        raise SystemExit(f"CPython {version}: expected it in pyenv or on the PATH, found none")
    return found[0]


def run(words: list[Any], variables: Mapping[str, str] | None = None, *, isolated: bool = False) -> str:
    environment = clean_environment() | dict(variables or {})
    if isolated:  # of a folder alone, without the packages of this interpreter
        words = [words[0], "-S", *words[1:]]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=_ELSEWHERE, check=False)
    if done.returncode:
        raise SystemExit(f"{words[0]}: ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """The environment of this process without what would lead Python to another checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


if __name__ == "__main__":
    main()
