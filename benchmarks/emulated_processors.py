"""Runs engines on emulated x86 processors without VNNI: integer sums must be right there, or the engine is refused.

    python benchmarks/emulated_processors.py CALIBRATED_BUNDLE --output benchmarks/emulated-processors.json

It needs `qemu-user-static` (Debian) or another qemu-user: `qemu-x86_64-static` runs this very Python and ONNX Runtime
on a processor that has AVX2 and no VNNI. What is computed there is real; how long it takes is not, so no time is kept.
The bundle's engines in INT8 are built here, opened there, and built anew there; all of it by the command line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import read_manifest
from taemi_edge.runtime.processor import features, kernels_are_exact

#: Emulators, in the order in which they are looked for; `QEMU_X86_64` names another one.
EMULATORS = ("qemu-x86_64-static", "qemu-x86_64")
#: With AVX2, and without AVX, where kernels are slow and exact. qemu has no AVX-512 and no VNNI on any.
PROCESSORS = ("Haswell", "Nehalem")
#: All but the rewritten ones: rewriting has nothing to do with the processor, and takes minutes under emulation.
_FORMS = (
    "--set",
    'forms=["int8", "int8-u8", "int8-dynamic", "unsigned weights", "7-bit weights", "as written"]',
)
_EXACT = "from taemi_edge.runtime.processor import kernels_are_exact as exact; print(exact())"


def emulator() -> str | None:
    """The program that emulates x86; None where there is none, or this machine is no x86 Linux."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return None
    named = os.environ.get("QEMU_X86_64")
    return named or next((found for name in EMULATORS if (found := shutil.which(name))), None)


def examine(qemu: str, processor: str, bundle: Path, engines: Path, scratch: Path) -> dict[str, Any]:
    """Say what one emulated processor computes of products, and what becomes of engines that were built here.

    Args:
        qemu: the emulator.
        processor: its name for the processor.
        bundle: calibrated graphs.
        engines: engines in INT8 that were built of them here.
        scratch: a folder to build in.
    """
    inside = [qemu, "-cpu", processor, sys.executable, "-W", "ignore"]
    tried = _run([*inside, "-c", _EXACT])
    opened = _run([*inside, "-m", "taemi_edge", "parity", str(engines), "--threads", "1"])
    copy = scratch / f"{processor}-engines"
    words = ("--target", "cpu", "--precision", "int8", "--threads", "1", "--no-cache", "--set", "runs=3", *_FORMS)
    built = _run([*inside, "-m", "taemi_edge", "build-engine", str(bundle), *words, "--output", str(copy)])
    checked = _run([*inside, "-m", "taemi_edge", "parity", str(copy), "--threads", "1"])
    back = _run([sys.executable, "-m", "taemi_edge", "parity", str(copy), "--threads", "1"])
    record = read_manifest(copy).engine if (copy / "manifest.json").is_file() else None
    return {
        "processor": f"{processor}, emulated",
        "integer_kernels_are_exact": tried.stdout.strip() == "True",
        "engines_built_here": {"exit": opened.returncode, "said": _last(opened)},
        "built_anew_there": {
            "exit": built.returncode,
            "verified": record is not None and not record.failure,
            "kept": {c.part: c.name for c in record.candidates if c.kept} if record else {},
            "parity_there": checked.returncode,
            "parity_here": back.returncode,
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a calibrated bundle")
    parser.add_argument("--processors", nargs="+", default=PROCESSORS, help="qemu's names for processors")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    given = parser.parse_args()
    if (qemu := emulator()) is None:
        print("expected qemu-x86_64 on an x86 Linux, found none: `sudo apt-get install qemu-user-static`")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "engines"
        words = (
            "--target",
            "cpu",
            "--precision",
            "int8",
            "--threads",
            "1",
            "--no-cache",
            *_FORMS,
            "--output",
            str(here),
        )
        built = _run([sys.executable, "-m", "taemi_edge", "build-engine", str(given.bundle), *words])
        if built.returncode:
            print(built.stderr, file=sys.stderr)
            return built.returncode
        examined = [examine(qemu, each, given.bundle, here, Path(folder)) for each in given.processors]
    found = {
        "emulated": "what is computed is real, times are not; qemu-user has neither VNNI nor AVX-512",
        "emulator": _run([qemu, "--version"]).stdout.splitlines()[0],
        "onnxruntime": onnxruntime.__version__,
        "here": {"processor": features().name, "integer_kernels_are_exact": kernels_are_exact()},
        "processors": examined,
    }
    write_report(given.output, found)
    print(json.dumps(found, indent=2))
    return 0


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    print(shlex.join(words), file=sys.stderr)
    return subprocess.run(words, capture_output=True, text=True, timeout=1800, env=environment, check=False)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a program said, as errors are said."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("taemi-edge: ")]
    return lines[-1].split(": ", 2)[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
