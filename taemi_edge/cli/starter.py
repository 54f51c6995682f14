"""Writes the example that `taemi-edge init-model` gives people to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.errors import OutputError


def write_starter(folder: Path) -> Path:
    """Write `model.py` into a folder, which is made where it does not exist; nothing is ever replaced.

    Returns:
        The file.

    Raises:
        OutputError: the file exists already, or cannot be written.

    Example:
        >>> write_starter(Path("mine")).name
        'model.py'
    """
    target = folder / "model.py"
    if target.exists():
        raise OutputError(f"{target} exists already and is not replaced: name another folder")
    text = (files("taemi_edge") / "assets" / "starter_model.txt").read_text(encoding="utf-8")
    with new_file(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target
