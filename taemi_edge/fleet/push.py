"""Pushing a bundle to a registry: every file as it is, and the signature that lies beside it."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.signatures import require_signed_files, signature_file
from taemi_edge.bundle.trusted_keys import read_small_file
from taemi_edge.errors import RegistryError, UsageError
from taemi_edge.fleet.artifact import EMPTY_CONFIG, MANIFEST_TYPE, artifact_bytes
from taemi_edge.fleet.reference import Reference, parse_reference
from taemi_edge.fleet.registry import RETRY_AFTER_S, USUAL_ACCESS, Access, BrokenTransferError, RegistryClient
from taemi_edge.fleet.transfer import open_plain
from taemi_edge.progress import SILENT, Progress

_BLOCK = 1 << 16
_BYTES = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Attributes:
        reference: by digest: what `pull` takes for exactly this bundle.
        sent_bytes: of files that the registry did not have.
        kept_bytes: of files that it had already.
        signed: whether a signature went along.
    """

    reference: Reference
    sent_bytes: int
    kept_bytes: int
    signed: bool


def push_bundle(
    bundle: Path | str,
    reference: str,
    *,
    require_signature: Path | None = None,
    access: Access = USUAL_ACCESS,
    progress: Progress = SILENT,
) -> Pushed:
    """Push a bundle under a tag; files that the registry has already are not sent again.

    The signature `BUNDLE.sig` goes along where it lies beside the folder. A push that broke goes on at the file where
    it stopped, and the tag is moved at the very end.

    Args:
        bundle: the folder.
        reference: oci://HOST/NAME:TAG.
        require_signature: a public key; what it did not sign is not pushed.
        access: how the registry may be reached.
        progress: receives how much is there.

    Raises:
        UsageError: the reference is none, or has a digest, which follows from what is pushed.
        BundleError: the folder is no sound bundle.
        SignatureError: the signature beside it is one of other files, or not by the key that is required.
        RegistryError: the registry cannot be reached, refuses, or breaks off.
    """
    target = parse_reference(reference)
    if target.digest:
        raise UsageError(f"{target}: expected a tag to push to: the digest follows from what is pushed")
    blobs, signature = _blobs_of(Path(bundle), require_signature)
    progress.stage(f"pushing {bundle} to {target}")
    total, sent, kept = sum(blob.size for blob in blobs), 0, 0
    listed = {blob.name: (blob.digest, blob.size) for blob in blobs if blob is not signature}
    content = artifact_bytes(listed, None if signature is None else (signature.digest, signature.size))
    with RegistryClient(target, access) as registry:
        for blob in (*blobs, _configuration()):
            if _exists(registry, blob):
                kept += blob.size
            else:
                _upload(registry, blob)
                sent += blob.size
            progress.count((sent + kept) >> 20, total >> 20, "MiB")
        digest = _put_manifest(registry, content)
    return Pushed(target.at(digest), sent, kept, signature is not None)


@dataclass(frozen=True)
class _Blob:
    """Something that is pushed; a file is opened only while it is sent.

    Attributes:
        name: of the file.
        digest: its sha256 as it was when the bundle was opened. The registry compares it with what arrives.
    """

    name: str
    digest: str
    size: int
    open: Callable[[], BinaryIO]


class _Body:
    """What `requests` sends block by block, with its length named ahead."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(_BLOCK), b"")

    def read(self, count: int = -1) -> bytes:
        return self._stream.read(count)

    def seek(self, place: int) -> None:
        self._stream.seek(place)


def _blobs_of(folder: Path, require_signature: Path | None) -> tuple[list[_Blob], _Blob | None]:
    """Everything that is pushed, and which of it is the signature."""
    bundle = open_bundle(folder, require_signature=require_signature)
    place = bundle.place or folder
    blobs = [_Blob(n, digest, bundle.sizes[n], _opener(place / n)) for n, digest in sorted(bundle.digests.items())]
    beside = signature_file(folder)
    if not beside.is_file():
        return blobs, None
    content = read_small_file(beside, "a signature")
    require_signed_files(content, bundle.digests, str(beside))
    signature = _Blob(beside.name, hashlib.sha256(content).hexdigest(), len(content), lambda: io.BytesIO(content))
    return [*blobs, signature], signature


def _configuration() -> _Blob:
    digest = hashlib.sha256(EMPTY_CONFIG).hexdigest()
    return _Blob("the configuration", digest, len(EMPTY_CONFIG), lambda: io.BytesIO(EMPTY_CONFIG))


def _opener(file: Path) -> Callable[[], BinaryIO]:
    return lambda: open_plain(file)


def _exists(registry: RegistryClient, blob: _Blob) -> bool:
    with registry.ask(registry.address(f"blobs/sha256:{blob.digest}"), "HEAD") as response:
        if response.status_code not in (200, 404):
            raise registry.refusal(response, f"to hear whether {blob.name!r} is there")
        return bool(response.status_code == 200)


def _upload(registry: RegistryClient, blob: _Blob) -> None:
    """Send one file; where the connection breaks it is sent again."""
    for wait_s in (*RETRY_AFTER_S, None):
        try:
            return _send(registry, blob)
        except BrokenTransferError:
            if wait_s is None:
                raise
            time.sleep(wait_s)
    return None


def _send(registry: RegistryClient, blob: _Blob) -> None:
    what = f"to take {blob.name!r} for {registry.reference}"
    with registry.do_request(registry.address("blobs/uploads/"), "POST", data=b"") as begun:
        if begun.status_code != 202:
            raise registry.refusal(begun, what)
        place = registry.allowed_address(begun.url, begun.headers.get("Location", ""))
    url = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': f'sha256:{blob.digest}'})}"
    with blob.open() as stream:
        body = _Body(stream, blob.size) if blob.size else b""
        with registry.do_request(url, "PUT", data=body, headers=_BYTES) as done:
            if done.status_code == 400:
                raise RegistryError(
                    f"{registry.reference}: the registry got another {blob.name!r} than the bundle had when it was "
                    f"opened: push again when nothing writes into the folder"
                )
            if done.status_code != 201:
                raise registry.refusal(done, what)


def _put_manifest(registry: RegistryClient, content: bytes) -> str:
    """Send the manifest, which moves the tag; gives its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    url = registry.address(f"manifests/{registry.reference.tag}")
    with registry.ask(url, "PUT", data=content, headers={"Content-Type": MANIFEST_TYPE}) as done:
        if done.status_code != 201:
            raise registry.refusal(done, f"to take the manifest of {registry.reference}")
        kept = done.headers.get("Docker-Content-Digest", digest)
    if kept != digest:
        raise RegistryError(f"{registry.reference}: expected the registry to keep {digest}, it kept {kept!r:.80}")
    return digest
