"""Bundles that were changed on purpose, with manifests that list what was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the decoded manifest."""
    file = folder / "manifest.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def put(folder: Path, name: str, content: bytes) -> None:
    """Write a file and list its hash, as somebody does who can change the whole bundle."""
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(folder, lambda manifest: manifest["sha256"].update({name: digest}))
