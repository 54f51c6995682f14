"""A cache of built engines, on disk and looked up by everything that an engine depends on.

A key is a hash over weights, shapes, precision, calibration, libraries, driver and device: when one of them changes,
the key is another one and the old engine is not found.

An engine runs code, and a cached bundle says that it was verified. So the folder is its owner's alone, every entry
carries a code that only who holds the secret of the cache can make (HMAC-SHA256), and entries are copied, never linked:
what is checked is the copy that is used.
"""

from __future__ import annotations

import hmac
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.bundle.folder import MANIFEST, open_bundle, replaceable_files
from taemi_edge.bundle.json_files import to_json, write_json
from taemi_edge.bundle.own_folder import code_of, own_secret
from taemi_edge.bundle.seal import seal_manifest
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import Frozen
from taemi_edge.errors import BundleError, OutputError

log = logging.getLogger("taemi_edge.engines")

#: Beside the files of a cached bundle: binds its manifest, which holds all hashes, to its key.
_CODE = "code"
#: The folders of single files: engines of parts, and what TensorRT measured.
_PARTS, _TIMES = "parts", "timing"


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


class _Head(Frozen, frozen=True):
    """The first line of a cached file; its content follows."""

    sha256: str
    build_s: float
    code: str


class _NotKeptError(Exception):
    """An entry is not what was put in."""


class EngineCache:
    """Built parts and whole built bundles by key.

    Without room, without permission, or where an entry is not what was put in, there is no entry: an engine is built
    anew. A folder that cannot be written is said once, in the log.

    Args:
        folder: of the cache; None for `engine_cache_folder()`.

    Raises:
        UsageError: from every method: the folder belongs to somebody else, or others can write into it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or engine_cache_folder()
        self._said = False

    def read_part(self, key: str) -> tuple[bytes, float] | None:
        """Give a part's engine and how many seconds it took to build; None where there is none or it is damaged."""
        return self._read(_PARTS, key)

    def write_part(self, key: str, engine: bytes, build_s: float) -> None:
        """Keep a part's engine. Where it cannot be kept, the log says so and the next build takes its time again."""
        self._write(_PARTS, key, engine, build_s)

    def read_times(self, name: str) -> bytes | None:
        """Give the times that TensorRT measured (`timing_cache.py`); None where there are none or they are damaged."""
        found = self._read(_TIMES, name)
        return None if found is None else found[0]

    def has_times(self, name: str) -> bool:
        """Whether a file of times lies there, whatever is in it."""
        return self._secret() is not None and (self.folder / _TIMES / name).is_file()

    def write_times(self, name: str, content: bytes) -> None:
        """Keep the times that TensorRT measured. Where they cannot be kept, the log says so."""
        self._write(_TIMES, name, content, 0.0)

    def copy_bundle(
        self, key: str, output: Path, *, seal: bool = False, named: Mapping[str, Any] | None = None
    ) -> Manifest | None:
        """Write a bundle that was built before, and give its manifest; None where there is none.

        Args:
            key: of the build.
            output: the folder to make.
            seal: whether this device seals it, as one that it built from signed graphs.
            named: what its record says of where its graphs lie, as that is seen from `output`.

        Raises:
            OutputError: `output` cannot be written.
        """
        kept = self.folder / "bundles" / key
        if (secret := self._secret()) is None or not kept.is_dir():
            return None
        try:
            with new_folder(output, replaceable_files(output)) as draft:
                manifest, digest = _copied(kept, draft, secret, key)
                if named is not None:
                    manifest, digest = _with_source(draft, manifest, named)
                if seal:
                    seal_manifest(digest)
                with suppress(OSError):
                    os.utime(kept)
                return manifest
        except _NotKeptError:
            return None

    def write_bundle(self, key: str, bundle: Path) -> None:
        """Keep a copy of a built bundle. Where it cannot be kept, the log says so."""
        if (secret := self._secret()) is None:
            return
        names = [entry.name for entry in bundle.iterdir()]
        with self._kept_or_said(), new_folder(self.folder / "bundles" / key, [*names, _CODE]) as draft:
            copy_files(bundle, draft, {name: name for name in names})
            digest = sha256((draft / MANIFEST).read_bytes()).hexdigest()
            (draft / _CODE).write_text(code_of(secret, key, digest), encoding="ascii")

    def trim(self, most_bytes: int) -> None:
        """Remove what was used longest ago, until all entries take no more than so many bytes."""
        entries: list[tuple[float, int, Path]] = []
        for folder in (self.folder / _PARTS, self.folder / "bundles", self.folder / _TIMES):
            with suppress(OSError):
                entries += [(e.stat().st_mtime, bytes_in(Path(e.path)), Path(e.path)) for e in os.scandir(folder)]
        total = sum(size for _, size, _ in entries)
        for _, size, entry in sorted(entries):
            if total <= most_bytes:
                return
            with suppress(OSError):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                total -= size

    def _read(self, folder: str, key: str) -> tuple[bytes, float] | None:
        """The content of an entry and the seconds in its head; None where it is not what was written."""
        if (secret := self._secret()) is None:
            return None
        file = self.folder / folder / key
        try:
            first, _, content = file.read_bytes().partition(b"\n")
            head = msgspec.json.decode(first, type=_Head)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        want = code_of(secret, key, head.sha256, str(head.build_s))
        if not hmac.compare_digest(want.encode(), head.code.encode()) or sha256(content).hexdigest() != head.sha256:
            return None
        with suppress(OSError):
            os.utime(file)  # `trim` keeps what was used last
        return content, head.build_s

    def _write(self, folder: str, key: str, content: bytes, seconds: float) -> None:
        if (secret := self._secret()) is None:
            return
        digest = sha256(content).hexdigest()
        code = code_of(secret, key, digest, str(float(seconds)))
        head = msgspec.json.encode(_Head(sha256=digest, build_s=float(seconds), code=code))
        with self._kept_or_said(), new_file(self.folder / folder / key) as draft:
            draft.write_bytes(head + b"\n" + content)

    def _secret(self) -> bytes | None:
        """The secret of the cache, which the first use makes; None where the folder cannot be made or read."""
        secret = own_secret(self.folder, "TAEMI_EDGE_CACHE")
        if secret is None:
            self._say("it cannot be made or read")
        return secret

    @contextmanager
    def _kept_or_said(self) -> Iterator[None]:
        """Go on where an entry cannot be written, as in a read-only folder and on a full disk."""
        try:
            yield
        except OutputError as error:
            cause = error.__cause__
            self._say((cause.strerror if isinstance(cause, OSError) else None) or str(error))

    def _say(self, reason: str) -> None:
        """One line in the log, once: the engines of a build are as good without the cache."""
        if not self._said:
            log.warning(
                "the engine cache %s is not used (%s): what is built now is not kept, and the next build takes its "
                "time again; set TAEMI_EDGE_CACHE to another folder",
                self.folder,
                reason,
            )
        self._said = True


def _with_source(draft: Path, manifest: Manifest, named: Mapping[str, Any]) -> tuple[Manifest, str]:
    """Name the graphs anew in a copy of a cached bundle: the entry names them as they lay when it was made."""
    if manifest.engine is not None:
        manifest = msgspec.structs.replace(manifest, engine=msgspec.structs.replace(manifest.engine, **named))
        write_json(draft / MANIFEST, manifest)
    written = f"{to_json(manifest)}\n".encode()  # what is sealed is what was written, not what lies there by now
    return manifest, sha256(written).hexdigest()


def _copied(kept: Path, draft: Path, secret: bytes, key: str) -> tuple[Manifest, str]:
    """Copy a cached bundle into a draft, and check the copy: the code of its manifest, and every hash in it."""
    try:
        given = (kept / _CODE).read_text(encoding="ascii")
        names = [e.name for e in os.scandir(kept) if e.name != _CODE and e.is_file(follow_symlinks=False)]
        copy_files(kept, draft, {name: name for name in names})
        digest = sha256((draft / MANIFEST).read_bytes()).hexdigest()
        if not hmac.compare_digest(given, code_of(secret, key, digest)):
            raise _NotKeptError
        bundle = open_bundle(draft)
    except (FileNotFoundError, UnicodeDecodeError, BundleError) as error:
        raise _NotKeptError from error
    if set(names) != set(bundle.digests) or bundle.digests[MANIFEST] != digest:
        raise _NotKeptError
    return bundle.manifest, digest


def bytes_in(place: Path) -> int:
    """How many bytes a file has, or all files in a folder together."""
    files = [place] if place.is_file() else [Path(path, name) for path, _, names in os.walk(place) for name in names]
    return sum(file.lstat().st_size for file in files)


def copy_files(source: Path, target: Path, names: Mapping[str, str]) -> None:
    """Copy files.

    Args:
        source, target: folders.
        names: of the files in `source`, with their names in `target`.
    """
    for name, new in names.items():
        shutil.copyfile(source / name, target / new)
