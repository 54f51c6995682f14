"""A cache of built engines, on disk and looked up by everything that an engine depends on.

A key is a hash over weights, shapes, precision, calibration, libraries, driver and device: when one of them changes,
the key is another one and the old engine is not found. What is found is checked against its own hash before it is used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.bundle.folder import MANIFEST, read_manifest, sha256_of
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import BundleError, OutputError


def engine_cache_folder() -> Path:
    """Give the folder of the cache: $TAEMI_EDGE_CACHE where it is set, else one in the user's cache folder."""
    named = os.environ.get("TAEMI_EDGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "taemi-edge"


def key_of(**content: Any) -> str:
    """Give a hash over named values; the order of the names does not count.

    >>> key_of(part="text", precision="fp16") == key_of(precision="fp16", part="text")
    True
    """
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


class _PartHead(Frozen, frozen=True):
    """The first line of a cached part; the engine follows."""

    sha256: str
    build_s: float


class EngineCache:
    """Built parts and whole built bundles by key.

    Args:
        folder: of the cache; None for `engine_cache_folder()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or engine_cache_folder()

    def read_part(self, key: str) -> tuple[bytes, float] | None:
        """Give a part's engine and how many seconds it took to build; None where there is none or it is damaged."""
        file = self.folder / "parts" / key
        if not file.is_file():
            return None
        head, _, engine = file.read_bytes().partition(b"\n")
        try:
            cached = msgspec.json.decode(head, type=_PartHead)
        except msgspec.MsgspecError:
            return None
        return (engine, cached.build_s) if sha256(engine).hexdigest() == cached.sha256 else None

    def write_part(self, key: str, engine: bytes, build_s: float) -> None:
        """Keep a part's engine. Where the disk has no room it is not kept, and the next build takes its time again."""
        head = msgspec.json.encode(_PartHead(sha256=sha256(engine).hexdigest(), build_s=build_s))
        try:
            with new_file(self.folder / "parts" / key) as draft:
                draft.write_bytes(head + b"\n" + engine)
        except OutputError:
            return

    def read_bundle(self, key: str) -> tuple[Path, Manifest] | None:
        """Give the folder and the manifest of a built bundle, every file of it checked; None where there is none."""
        folder = self.folder / "bundles" / key
        try:
            manifest = read_manifest(folder)
        except BundleError:
            return None
        whole = all(
            (folder / name).is_file() and sha256_of(folder / name) == want for name, want in manifest.sha256.items()
        )
        return (folder, manifest) if whole else None

    def write_bundle(self, key: str, bundle: Path) -> None:
        """Keep a built bundle; its files are linked where the file system can. Without room it is not kept."""
        names = [entry.name for entry in bundle.iterdir()]
        try:
            with new_folder(self.folder / "bundles" / key, names) as draft:
                copy_files(bundle, draft, {name: name for name in names})
        except OutputError:
            return

    def timing_cache(self, library: str, sm: str) -> Path:
        """Give the file of TensorRT's timing cache; each library and compute capability has one."""
        return self.folder / "timing" / f"{library}-sm{sm or 'none'}.bin".replace(" ", "_")


def copy_files(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Link files, or copy them where the file system cannot link. The manifest is always copied.

    Args:
        source, target: folders.
        names: of the files in `source`, with their names in `target`.
    """
    for name, new in names.items():
        if name == MANIFEST:
            shutil.copyfile(source / name, target / new)
            continue
        try:
            os.link(source / name, target / new)
        except OSError:
            shutil.copyfile(source / name, target / new)
