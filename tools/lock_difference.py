"""Prints the requirements of one lock file that another one lacks: python tools/lock_difference.py LARGER SMALLER."""

from __future__ import annotations

import sys
from pathlib import Path


def requirements(lock: Path) -> dict[str, str]:
    """The requirements of a lock file by name; each with its hashes, over several lines."""
    found: dict[str, str] = {}
    name = ""
    for line in lock.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            name = line.partition("==")[0]
            found[name] = ""
        if not line.startswith("#"):
            found[name] += line
    return found


def main(larger: str, smaller: str) -> None:
    """Print what is in `larger` alone; a package that both name has the same version in both."""
    all_of_it, known = requirements(Path(larger)), requirements(Path(smaller))
    for name, text in all_of_it.items():
        if name in known and known[name] != text:
            raise SystemExit(f"{name}: expected one version in both files: {smaller} was resolved without {larger}")
    print(Path(larger).read_text(encoding="utf-8").splitlines()[0])
    print("".join(text for name, text in all_of_it.items() if name not in known), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
