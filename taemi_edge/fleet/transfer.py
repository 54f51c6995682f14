"""Fetching files from a registry into a folder where each lies under its sha256, so that a broken transfer goes on.

A file that is being fetched is `SHA256.part`; a whole one is `SHA256`. Whatever lies there is hashed before it is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import requests

from taemi_edge.errors import RegistryError
from taemi_edge.fleet.artifact import Layer
from taemi_edge.fleet.registry import RETRY_AFTER_S, BrokenTransferError, RegistryClient, blocks_of

#: A transfer that brings less than this in `_SPEED_WINDOW_S` is broken off and begun again.
_LEAST_BYTES_PER_S = 1024
_SPEED_WINDOW_S = 30.0
#: A transfer that broke counts as a failed try only where it brought less than this beyond all tries before.
_WORTH_GOING_ON = 1 << 20
_BLOCK = 1 << 20


class BlobFolder:
    """Files by their sha256: fetched, taken from other folders, or left there by an earlier try.

    Args:
        folder: exists already; it is nobody else's.
        registry: the files come from.
        known: files that may be copied instead of fetched, by what their sha256 is said to be.
        counted: called with how many bytes more are there.
    """

    def __init__(
        self,
        folder: Path,
        registry: RegistryClient,
        known: Mapping[str, Path],
        counted: Callable[[int], None],
    ) -> None:
        self._folder, self._registry, self._known, self._counted = folder, registry, known, counted
        #: Bytes that came over the network, and bytes that were there already.
        self.fetched, self.reused = 0, 0

    def get(self, layer: Layer) -> Path:
        """Give a file that holds what the layer says.

        Raises:
            RegistryError: the registry has no such file, or gives another one; also where it breaks off repeatedly.
            OSError: it cannot be written.
        """
        whole = self._folder / layer.sha256
        if _is_sound(whole, layer) or self._copied(layer, whole):
            self.reused += layer.size
            self._counted(layer.size)
            return whole
        draft = whole.with_suffix(".part")
        failures = reached = 0
        while True:
            transfer = _Transfer(self._registry, layer, draft, self._counted)
            try:
                sound = transfer.run()
            except BrokenTransferError:
                there = transfer.kept + transfer.fetched  # a server that begins anew each time brings nothing new
                failures = 1 if there >= reached + _WORTH_GOING_ON else failures + 1
                reached = max(reached, there)
                if failures > len(RETRY_AFTER_S):
                    raise
                time.sleep(RETRY_AFTER_S[failures - 1])
                continue
            finally:
                self.fetched += transfer.fetched
                self.reused += transfer.kept
            if sound:
                os.replace(draft, whole)
                return whole
            draft.unlink()
            if not transfer.kept:
                raise RegistryError(
                    f"{self._registry.reference}: the registry's {layer.title!r} is not the file that was pushed (its "
                    f"sha256 differs): do not use it, and look at the registry"
                )
            self.reused -= transfer.kept  # what an earlier try had left was damaged: begin anew
            self._counted(-layer.size)

    def _copied(self, layer: Layer, whole: Path) -> bool:
        """Copy a file of the same sha256 from another folder, where there is one that holds what it should."""
        source = self._known.get(layer.sha256)
        if source is None:
            return False
        draft, digest = whole.with_suffix(".copy"), hashlib.sha256()
        try:
            with open_plain(source) as old, _written(draft, "xb") as new:
                if os.fstat(old.fileno()).st_size != layer.size:
                    return False
                while block := old.read(_BLOCK):
                    digest.update(block)
                    new.write(block)
            if digest.hexdigest() != layer.sha256:
                return False
            os.replace(draft, whole)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            return False
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        return True


class _Transfer:
    """One try to bring the rest of a file."""

    def __init__(self, registry: RegistryClient, layer: Layer, draft: Path, counted: Callable[[int], None]) -> None:
        self._registry, self._layer, self._draft, self._counted = registry, layer, draft, counted
        self.kept = self.fetched = 0

    def run(self) -> bool:
        """Fetch what is missing; True where the file then holds what it should.

        Raises:
            BrokenTransferError: the rest is still missing.
            RegistryError: the registry gives more, or something else.
        """
        with _written(self._draft, "ab") as file:
            digest, self.kept = _hash_of_draft(self._draft, self._layer.size)
            file.truncate(self.kept)
            self._counted(self.kept)
            try:
                if self.kept < self._layer.size:
                    digest = self._receive(file, digest)
            except BaseException:
                self._counted(-self.kept - self.fetched)
                raise
            finally:
                file.flush()
        return bool(digest.hexdigest() == self._layer.sha256)

    def _receive(self, file: BinaryIO, digest: Any) -> Any:
        layer = self._layer
        headers = {"Range": f"bytes={self.kept}-"} if self.kept else {}
        response = self._registry.do_request(self._registry.address(f"blobs/{layer.digest}"), headers=headers)
        with response:
            if not self._goes_on(response):
                digest = hashlib.sha256()
                file.truncate(0)
                self._counted(-self.kept)
                self.kept = 0
            speed = _Speed(self._registry.reference.host)
            for block in blocks_of(response):
                self.fetched += len(block)
                if self.kept + self.fetched > layer.size:
                    raise self._wrong_size("more")
                file.write(block)
                digest.update(block)
                self._counted(len(block))
                speed.passed(len(block))
        if self.kept + self.fetched < layer.size:
            raise BrokenTransferError(
                f"{self._registry.reference.host}: the transfer of {layer.title!r} broke off after "
                f"{self.kept + self.fetched} of {layer.size} bytes: pull again, it goes on from there"
            )
        return digest

    def _goes_on(self, response: requests.Response) -> bool:
        """Whether the answer is the rest of the file; False where it is the whole file.

        Raises:
            RegistryError: it is neither.
        """
        layer, status = self._layer, response.status_code
        if status not in (200, 206):
            if status == 416 and self.kept:  # it takes no ranges, or thinks that the file is shorter
                self._draft.unlink()
                raise BrokenTransferError(
                    f"{self._registry.reference.host}: the registry cannot go on where it stopped"
                )
            raise self._registry.refusal(response, f"the file {layer.title!r} of {self._registry.reference}")
        start = re.match(r"bytes ([0-9]{1,19})-", response.headers.get("Content-Range", ""))
        goes_on = bool(self.kept) and status == 206
        if status == 206 and (start is None or int(start[1]) != self.kept):
            raise RegistryError(
                f"{self._registry.reference.host}: expected {layer.title!r} from byte {self.kept} on, got another range"
            )
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and announced != str(layer.size - (self.kept if goes_on else 0)):
            raise self._wrong_size("another size")
        return goes_on

    def _wrong_size(self, got: str) -> RegistryError:
        return RegistryError(
            f"{self._registry.reference}: expected {self._layer.title!r} to have {self._layer.size} bytes, as the "
            f"manifest says, the registry gives {got}: do not use it, and look at the registry"
        )


class _Speed:
    """Breaks off a transfer that crawls."""

    def __init__(self, host: str) -> None:
        self._host, self._since, self._bytes = host, time.monotonic(), 0

    def passed(self, count: int) -> None:
        """So many bytes came.

        Raises:
            BrokenTransferError: it were too few for a while.
        """
        self._bytes += count
        passed_s = time.monotonic() - self._since
        if passed_s < _SPEED_WINDOW_S:
            return
        if self._bytes < _LEAST_BYTES_PER_S * passed_s:
            raise BrokenTransferError(
                f"{self._host}: the transfer brought {self._bytes} bytes in {passed_s:.0f} s: pull again later, it "
                f"goes on from there"
            )
        self._since, self._bytes = time.monotonic(), 0


def _is_sound(file: Path, layer: Layer) -> bool:
    try:
        with open_plain(file) as stream:
            same_size = os.fstat(stream.fileno()).st_size == layer.size
            return same_size and _hash_of(stream)[0].hexdigest() == layer.sha256
    except OSError:
        return False


def _hash_of_draft(draft: Path, most_bytes: int) -> tuple[Any, int]:
    """Hash what an earlier try left of a file; what is longer than the file itself is nothing of it."""
    with open_plain(draft) as stream:
        fits = os.fstat(stream.fileno()).st_size <= most_bytes
        return _hash_of(stream) if fits else (hashlib.sha256(), 0)


def _hash_of(stream: BinaryIO) -> tuple[Any, int]:
    digest, size = hashlib.sha256(), 0
    while block := stream.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest, size


def open_plain(file: Path) -> BinaryIO:
    """Open a file to read, but no link and no pipe that stands in its place."""
    return open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK))


def _written(file: Path, mode: Literal["xb", "ab"]) -> BinaryIO:
    """Open a file to write; a link that stands in its place is not followed."""
    return open(file, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o644))
