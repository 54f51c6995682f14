"""How large an installation is: the base, and what each extra adds, for each CPython from 3.10 to 3.12.

    python benchmarks/install_size.py --output benchmarks/install-size.json [--extra pictures --extra text ...]
    python benchmarks/install_size.py --folder .venv-3.10 --limit 300

The first builds the wheel and installs it as its users do, with `pip install` from PyPI into clean virtual
environments: first alone, then with one extra after the other, each in an environment of its own. Interpreters that
are not on this machine are left out. The second counts an environment that is there.

A megabyte is a million bytes. Counted are the files of each distribution that pip has noted, with the bytecode that pip
writes; pip and setuptools came with the environment and are left out. Only `--output` needs more than Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12")
EXTRAS = ("pictures", "text", "pictures,text", "serve", "fleet")
#: What every virtual environment has had before anything was installed.
_OF_THE_ENVIRONMENT = {"pip", "setuptools", "wheel"}
#: Distributions below this size are told as one.
_TOLD_MB = 1.0


def distributions(folder: Path) -> list[dict[str, Any]]:
    """What is installed in an environment, the largest first: name, version, megabytes and files."""
    [packages] = folder.glob("lib/python3.*/site-packages")
    found = []
    for each in metadata.distributions(path=[str(packages)]):
        files = [Path(str(each.locate_file(file))) for file in each.files or ()]
        sizes = [os.path.getsize(file) for file in files if file.is_file()]
        name = each.metadata["Name"]
        if name.lower() not in _OF_THE_ENVIRONMENT:
            found.append({"name": name, "version": each.version, "mb": sum(sizes) / 1e6, "files": len(sizes)})
    return sorted(found, key=lambda each: (-each["mb"], each["name"]))


def summary(folder: Path) -> dict[str, Any]:
    """The size of an environment, and of what is large in it."""
    found = distributions(folder)
    large = [{**each, "mb": round(each["mb"], 1)} for each in found if each["mb"] >= _TOLD_MB]
    return {
        "mb": round(sum(each["mb"] for each in found), 1),
        "files": sum(each["files"] for each in found),
        "distributions": len(found),
        "large": large,
    }


def find_python(version: str) -> str | None:
    """An interpreter of a version that is on this machine."""
    candidates = [
        shutil.which(f"python{version}"),
        *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
    ]
    for candidate in filter(None, candidates):
        script = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", script], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


def measure(python: str, wheel: Path, extra: str, work: Path) -> dict[str, Any]:
    """Install the wheel with an extra into a clean environment, and count it."""
    folder = work / "venv"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    wanted = f"taemi-edge[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "-q", wanted]
    subprocess.run(pip, check=True)
    return summary(folder)


def build_wheel(work: Path) -> Path:
    """The wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps", "-w", str(work)]
    subprocess.run([*command, str(ROOT)], check=True)
    [wheel] = work.glob("taemi_edge-*.whl")
    return wheel


def report(pythons: list[str], extras: list[str]) -> dict[str, Any]:
    """The sizes of all installations."""
    sizes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        wheel = build_wheel(work)
        for version in pythons:
            python = find_python(version)
            if python is None:
                print(f"CPython {version} is not on this machine")
                continue
            base = measure(python, wheel, "", work)
            added = {extra: round(measure(python, wheel, extra, work)["mb"] - base["mb"], 1) for extra in extras}
            sizes[version] = {"base": base, "extras_add_mb": added}
            print(f"CPython {version}: base {base['mb']} MB in {base['files']:,} files;", added)
    return {"sizes": sizes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the report as JSON")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="measure this CPython alone")
    parser.add_argument("--extra", action="append", help="measure this extra, in place of the usual ones")
    parser.add_argument("--folder", type=Path, help="count this environment, and install nothing")
    parser.add_argument("--limit", type=float, help="with --folder: exit with 1 where it has more megabytes")
    given = parser.parse_args()
    if given.folder is None:
        result = report(given.python or list(PYTHONS), list(EXTRAS) if given.extra is None else given.extra)
    else:
        result = summary(given.folder)
        for each in result["large"]:
            print(f"{each['mb']:8.1f} MB {each['files']:6,} files  {each['name']} {each['version']}")
        print(f"{result['mb']:8.1f} MB {result['files']:6,} files  {result['distributions']} distributions")
    if given.output is not None:
        sys.path.insert(0, str(ROOT))
        from taemi_edge.bench.provenance import write_report  # an environment that is counted may be without it

        write_report(given.output, result)
    if given.limit is not None and given.folder is not None and result["mb"] > given.limit:
        sys.exit(f"{given.folder}: expected at most {given.limit:g} MB, got {result['mb']}")


if __name__ == "__main__":
    main()
