"""Runs a file of tests/gpu and writes what passed and what failed: ...gpu_tests FILE GRAPHS --json FILE

A test that fails is a finding: it ends nothing, and the exit code is 0 as long as any test ran.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from taemi_edge.bundle.json_files import write_json


def run_tests(file: str, graphs: Path) -> dict[str, Any]:
    """Run a file of tests on engines of one bundle of graphs.

    Returns:
        How many passed, and the first line of each failure or reason to skip, by the name of the test.
    """
    with tempfile.TemporaryDirectory() as scratch:
        bundles, report = Path(scratch) / "bundles", Path(scratch) / "report.xml"
        bundles.mkdir()
        (bundles / graphs.name).symlink_to(graphs.resolve())
        environment = {**os.environ, "TAEMI_EDGE_GPU_BUNDLES": str(bundles)}
        environment["TAEMI_EDGE_GPU_TARGET"] = os.environ.get("TARGET", "")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file, f"--junitxml={report}"]
        code = subprocess.run(command, env=environment, check=False).returncode
        if not report.is_file():
            raise SystemExit(f"pytest ended with {code} before it ran any test")
        found = {"file": file, "exit_code": code, **results_of(report)}
    if not found["passed"] and not found["failed"]:
        raise SystemExit(f"no test ran: {next(iter(found['skipped'].values()), 'none was found')}")
    return found


def results_of(report: Path) -> dict[str, Any]:
    """Read pytest's own report."""
    found: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  pytest wrote it a moment ago
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
        told = next((child for child in case if child.tag in kinds), None)
        if told is None:
            found["passed"] += 1
        else:
            found[kinds[told.tag]][name] = (told.get("message") or "").partition("\n")[0][:300]
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Write the results."""
    parser = argparse.ArgumentParser(prog="gpu_tests")
    parser.add_argument("file")
    parser.add_argument("graphs", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(words)
    write_json(given.json, run_tests(given.file, given.graphs))


if __name__ == "__main__":
    main()
