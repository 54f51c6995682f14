"""Everything that an engine depends on in, the engine that was built of just that out, if there ever was one.

Content-addressed: the key is a hash over weights, shapes, precision, calibration, libraries, driver and device, so a
changed one never hits. What was kept is checked against its own hash before it is used.
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
from taemi_edge.bundle.spec import Frozen, Manifest
from taemi_edge.errors import BundleError, OutputError


def cache_folder() -> Path:
    """Where engines are kept: $TAEMI_EDGE_CACHE, else the user's cache folder."""
    named = os.environ.get("TAEMI_EDGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "taemi-edge"


def key_of(**content: Any) -> str:
    """A hash over named values; the order of names does not count."""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


class _Head(Frozen, frozen=True):
    """The first line of a kept part."""

    sha256: str
    build_s: float


class EngineCache:
    """Built parts and whole built bundles by key."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def read_part(self, key: str) -> tuple[bytes, float] | None:
        """A part's engine and how long it took to build; None where there is none, or where it is damaged."""
        file = self.folder / "parts" / key
        if not file.is_file():
            return None
        head, _, engine = file.read_bytes().partition(b"\n")
        try:
            kept = msgspec.json.decode(head, type=_Head)
        except msgspec.MsgspecError:
            return None
        return (engine, kept.build_s) if sha256(engine).hexdigest() == kept.sha256 else None

    def write_part(self, key: str, engine: bytes, build_s: float) -> None:
        """Keep a part's engine; without room it is not kept, which costs time alone."""
        head = msgspec.json.encode(_Head(sha256=sha256(engine).hexdigest(), build_s=build_s))
        try:
            with new_file(self.folder / "parts" / key) as draft:
                draft.write_bytes(head + b"\n" + engine)
        except OutputError:
            return

    def read_bundle(self, key: str) -> tuple[Path, Manifest] | None:
        """A whole built bundle, every file of it checked; None where there is none that is whole."""
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
        """Keep a built bundle, sharing its bytes where the file system can."""
        names = [entry.name for entry in bundle.iterdir()]
        try:
            with new_folder(self.folder / "bundles" / key, names) as draft:
                copy_files(bundle, draft, {name: name for name in names})
        except OutputError:
            return

    def timing_cache(self, library: str, sm: str) -> Path:
        """TensorRT's own cache of tactics' times, one a library and compute capability."""
        return self.folder / "timing" / f"{library}-sm{sm or 'none'}.bin".replace(" ", "_")


def copy_files(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Copy files under new names; the manifest is written anew by its maker, never shared."""
    for name, new in names.items():
        if name == MANIFEST:
            shutil.copyfile(source / name, target / new)
            continue
        try:
            os.link(source / name, target / new)
        except OSError:
            shutil.copyfile(source / name, target / new)
