"""A cache of built engines, on disk and looked up by everything that an engine depends on.

A key is a hash over weights, shapes, precision, calibration, libraries, driver and device: when one of them changes,
the key is another one and the old engine is not found.

An engine runs code, and a cached bundle says that it was verified. So the folder is its owner's alone, every entry
carries a code that only who holds the secret of the cache can make (HMAC-SHA256), and entries are copied, never linked:
what is checked is the copy that is used.
"""

from __future__ import annotations

import hmac
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.bundle.drafts import hold_draft
from taemi_edge.bundle.folder import MANIFEST, open_bundle, replaceable_files
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import BundleError, OutputError, UsageError

_SECRET, _SECRET_BYTES = "secret", 32
#: Beside the files of a cached bundle: binds its manifest, which holds all hashes, to its key.
_CODE = "code"
_ELSEWHERE = "set TAEMI_EDGE_CACHE to another folder"


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
    code: str


class _NotKeptError(Exception):
    """An entry is not what was put in."""


class EngineCache:
    """Built parts and whole built bundles by key.

    Without room, without permission, or where an entry is not what was put in, there is no entry: an engine is built
    anew.

    Args:
        folder: of the cache; None for `engine_cache_folder()`.

    Raises:
        UsageError: from every method: the folder belongs to somebody else, or others can write into it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or engine_cache_folder()

    def read_part(self, key: str) -> tuple[bytes, float] | None:
        """Give a part's engine and how many seconds it took to build; None where there is none or it is damaged."""
        if (secret := self._secret()) is None:
            return None
        try:
            first, _, engine = (self.folder / "parts" / key).read_bytes().partition(b"\n")
            head = msgspec.json.decode(first, type=_PartHead)
        except (OSError, msgspec.MsgspecError):
            return None
        want = _code(secret, key, head.sha256, str(head.build_s))
        if not hmac.compare_digest(want, head.code) or sha256(engine).hexdigest() != head.sha256:
            return None
        return engine, head.build_s

    def write_part(self, key: str, engine: bytes, build_s: float) -> None:
        """Keep a part's engine. Where the disk has no room it is not kept, and the next build takes its time again."""
        if (secret := self._secret()) is None:
            return
        digest = sha256(engine).hexdigest()
        code = _code(secret, key, digest, str(float(build_s)))
        head = msgspec.json.encode(_PartHead(sha256=digest, build_s=float(build_s), code=code))
        with suppress(OutputError), new_file(self.folder / "parts" / key) as draft:
            draft.write_bytes(head + b"\n" + engine)

    def copy_bundle(self, key: str, output: Path) -> Manifest | None:
        """Write a bundle that was built before, and give its manifest; None where there is none.

        Args:
            key: of the build.
            output: the folder to make.

        Raises:
            OutputError: `output` cannot be written.
        """
        kept = self.folder / "bundles" / key
        if (secret := self._secret()) is None or not kept.is_dir():
            return None
        try:
            with new_folder(output, replaceable_files(output)) as draft:
                return _copied(kept, draft, secret, key)
        except _NotKeptError:
            return None

    def write_bundle(self, key: str, bundle: Path) -> None:
        """Keep a copy of a built bundle. Without room it is not kept."""
        if (secret := self._secret()) is None:
            return
        names = [entry.name for entry in bundle.iterdir()]
        with suppress(OutputError), new_folder(self.folder / "bundles" / key, [*names, _CODE]) as draft:
            copy_files(bundle, draft, {name: name for name in names})
            digest = sha256((draft / MANIFEST).read_bytes()).hexdigest()
            (draft / _CODE).write_text(_code(secret, key, digest), encoding="ascii")

    def timing_cache(self, library: str, sm: str) -> Path:
        """Give the file of TensorRT's timing cache; each library and compute capability has one."""
        self._secret()
        return self.folder / "timing" / f"{library}-sm{sm or 'none'}.bin".replace(" ", "_")

    def _secret(self) -> bytes | None:
        """The secret of the cache, which the first use makes; None where the folder cannot be made or read."""
        file = self.folder / _SECRET
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_own(self.folder)
            if not file.exists():
                _write_secret(file)
            secret = file.read_bytes()
        except OSError:
            return None
        return secret if len(secret) == _SECRET_BYTES else None


def _require_own(folder: Path) -> None:
    """Refuse a folder in which others can put something."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise UsageError(f"{folder}: expected a cache of your own, it belongs to user {found.st_uid}: {_ELSEWHERE}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{folder}: expected a cache that you alone can write: `chmod 700 {folder}`, or {_ELSEWHERE}")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _write_secret(file: Path) -> None:
    """Make the secret; where another process makes one at the same time, the first one stays."""
    with hold_draft(file, mode=0o700) as draft:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(_SECRET_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(draft, file)


def _code(secret: bytes, *bound: str) -> str:
    """What only who holds the secret can make for these values."""
    return hmac.new(secret, "\0".join(bound).encode(), sha256).hexdigest()


def _copied(kept: Path, draft: Path, secret: bytes, key: str) -> Manifest:
    """Copy a cached bundle into a draft, and check the copy: the code of its manifest, and every hash in it."""
    try:
        given = (kept / _CODE).read_text(encoding="ascii")
        names = [e.name for e in os.scandir(kept) if e.name != _CODE and e.is_file(follow_symlinks=False)]
        copy_files(kept, draft, {name: name for name in names})
        digest = sha256((draft / MANIFEST).read_bytes()).hexdigest()
        if not hmac.compare_digest(given, _code(secret, key, digest)):
            raise _NotKeptError
        bundle = open_bundle(draft)
    except (FileNotFoundError, UnicodeDecodeError, BundleError) as error:
        raise _NotKeptError from error
    if set(names) != {*bundle.manifest.sha256, MANIFEST}:
        raise _NotKeptError
    return bundle.manifest


def copy_files(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Copy files.

    Args:
        source, target: folders.
        names: of the files in `source`, with their names in `target`.
    """
    for name, new in names.items():
        shutil.copyfile(source / name, target / new)
