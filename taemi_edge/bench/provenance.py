"""How a file of figures was made: by which command, on which machine, with which versions, on which day.

The scripts under benchmarks/ and what else measures put it into their JSON, so that a figure never stands alone;
`tools/evidence_page.py` reads it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from taemi_edge.bench.machine import described_machine
from taemi_edge.bundle.json_files import write_json
from taemi_edge.runtime.processor import features

_ROOT = Path(__file__).parents[2]
#: Whose versions are always told.
_USUAL = ("onnxruntime", "numpy")
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def today() -> str:
    """The day, in UTC.

    >>> len(today())
    10
    """
    return datetime.now(tz=timezone.utc).date().isoformat()


def provenance(*packages: str, command: str = "", gpu: bool = False) -> dict[str, Any]:
    """How figures of this process are made.

    Args:
        packages: further packages that matter for the figures; one that is not installed is left out.
        command: by default what this process was started with.
        gpu: whether the machine's GPU is named.

    >>> sorted(provenance("cryptography"))
    ['command', 'commit', 'date', 'machine', 'versions']
    """
    machine = described_machine("tensorrt" if gpu else "cpu")
    python = machine.pop("python")
    processor = features()
    return {
        "command": command or shlex.join(["python", *sys.orig_argv[1:]]),
        "date": today(),
        "commit": _commit(),
        "machine": {
            **machine,
            "processor": processor.name or processor.architecture,
            "vnni": bool(processor.features & _VNNI),
            "load_at_the_end": round(os.getloadavg()[0], 2),
        },
        "versions": {"CPython": python, **_versions([*_USUAL, *packages])},
    }


def write_report(file: Path, report: Mapping[str, Any], *packages: str, gpu: bool = False) -> None:
    """Write figures as JSON, with how they were made before them.

    Args:
        file: replaced whole.
        report: the figures.
        packages: as for `provenance`.
    """
    write_json(file, {"provenance": provenance(*packages, gpu=gpu), **report})


def _versions(names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit of the checkout, with a mark where files differ from it; empty without a checkout."""
    git = shutil.which("git")
    if git is None or not (_ROOT / ".git").exists():
        return ""
    asked = [git, "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
