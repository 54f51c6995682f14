"""Files in the tree that a tool writes: written, or with `--check` compared with what the tool would write."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def differing(files: Mapping[Path, str]) -> list[Path]:
    """Those that are missing or hold something else."""
    return [file for file, text in files.items() if not file.is_file() or file.read_text(encoding="utf-8") != text]


def write_or_check(files: Mapping[Path, str], command: str) -> None:
    """Writes the files. With `--check` it writes nothing, and ends with exit code 1 where one differs."""
    changed = differing(files)
    if "--check" in sys.argv[1:]:
        if changed:
            sys.exit(f"{', '.join(str(file) for file in changed)}: not as the tool writes it; run `{command}`")
        return
    for file in changed:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(files[file], encoding="utf-8")
        print(file)
