"""A bundle as a registry keeps it: an OCI manifest that lists every file of the bundle as a layer of its own.

Each layer names a file (its title), its size and its sha256. The signature, where there is one, is a layer too. The
digest of the manifest is the digest of the bundle: nothing in it depends on who pushes it, when, or from which folder.

What comes from a registry may be hostile. The manifest is read with bounds, and only names of plain files are accepted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from taemi_edge.bundle.folder import MANIFEST
from taemi_edge.bundle.limits import MOST_FILE_BYTES, MOST_FILES, MOST_SIGNATURE_BYTES
from taemi_edge.bundle.names import file_name_problem
from taemi_edge.errors import RegistryError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
#: What `pull` asks for: an index is named so that a registry gives it, and a sentence can say what was found.
ACCEPTED_TYPES = f"{MANIFEST_TYPE}, application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.taemi-edge.bundle.v1"
FILE_TYPE = "application/vnd.taemi-edge.bundle.file.v1"
SIGNATURE_TYPE = "application/vnd.taemi-edge.bundle.signature.v1+json"
SIGNATURE_TITLE = "BUNDLE.sig"
TITLE = "org.opencontainers.image.title"
#: What an artifact without a configuration has in its place; every registry knows the type.
EMPTY_CONFIG = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
#: The largest manifest that registries must take: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
MOST_MANIFEST_BYTES = 4 << 20
#: The files that a bundle's manifest lists, the manifest itself, and the signature.
MOST_LAYERS = MOST_FILES + 2
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Layer:
    """One file of a bundle in a registry.

    Attributes:
        title: the name of the file.
        digest: "sha256:" and 64 hexadecimal digits.
        size: in bytes.
    """

    title: str
    digest: str
    size: int

    @property
    def sha256(self) -> str:
        """The digest without its prefix."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Artifact:
    """What the manifest of a bundle in a registry says.

    Attributes:
        digest: of the manifest.
        files: of the bundle, its manifest.json among them.
        signature: None where the bundle was pushed without one.
    """

    digest: str
    files: tuple[Layer, ...]
    signature: Layer | None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The files and the signature."""
        return (*self.files, self.signature) if self.signature else self.files

    @property
    def size(self) -> int:
        """Bytes in all; a file that the registry keeps once and the bundle has twice counts twice."""
        return sum(layer.size for layer in self.layers)


class _Descriptor(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None


class _OciManifest(msgspec.Struct, rename="camel"):
    schema_version: int
    layers: list[_Descriptor] | None = None
    manifests: Any = None
    media_type: str = MANIFEST_TYPE


def artifact_bytes(files: Mapping[str, tuple[str, int]], signature: tuple[str, int] | None) -> bytes:
    """Give the OCI manifest of a bundle; the same files give the same bytes.

    Args:
        files: the sha256 and the size of every file by its name.
        signature: the same of the signature; None without.

    Example:
        >>> artifact_from_bytes(artifact_bytes({"manifest.json": ("0" * 64, 7)}, None), "the registry").size
        7
    """
    layers = [_layer(name, *files[name], FILE_TYPE) for name in sorted(files)]
    if signature is not None:
        layers.append(_layer(SIGNATURE_TITLE, *signature, SIGNATURE_TYPE))
    config = {
        "mediaType": _EMPTY_TYPE,
        "digest": f"sha256:{sha256(EMPTY_CONFIG).hexdigest()}",
        "size": len(EMPTY_CONFIG),
    }
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": layers,
    }
    return msgspec.json.encode(content)


def artifact_from_bytes(content: bytes, where: str, digest: str = "") -> Artifact:
    """Read the OCI manifest of a bundle.

    Args:
        content: the bytes, at most `MOST_MANIFEST_BYTES`.
        where: it comes from, for messages.
        digest: what was asked for; "" where a tag was.

    Raises:
        RegistryError: it is something else than the manifest of a bundle, or names what may not be written.
    """
    found = f"sha256:{sha256(content).hexdigest()}"
    if digest and found != digest:
        raise RegistryError(
            f"{where}: expected the manifest of that digest, the registry gave one of {found}: do not use it, and look "
            f"at the registry"
        )
    try:
        manifest = msgspec.json.decode(content, type=_OciManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{where}: expected the manifest of a bundle as JSON: {error!s:.200}") from error
    if manifest.manifests is not None or manifest.media_type != MANIFEST_TYPE or manifest.schema_version != 2:
        what = "an index of several manifests" if manifest.manifests is not None else f"{manifest.media_type!r:.80}"
        raise RegistryError(f"{where}: expected one OCI manifest of a bundle, got {what}: name what `push` printed")
    descriptors = manifest.layers or []
    if len(descriptors) > MOST_LAYERS:
        raise RegistryError(f"{where}: expected a bundle of at most {MOST_LAYERS} files, got {len(descriptors)}")
    layers = [_checked(descriptor, where) for descriptor in descriptors]
    _require_distinct(layers, where)
    signed = next((layer for layer in layers if layer.title == SIGNATURE_TITLE), None)
    if signed is not None and signed.size > MOST_SIGNATURE_BYTES:
        raise RegistryError(f"{where}: expected a signature of at most 1 MiB, got one of {signed.size} bytes")
    files = tuple(layer for layer in layers if layer.title != SIGNATURE_TITLE)
    if not any(layer.title == MANIFEST for layer in files):
        raise RegistryError(
            f"{where}: expected a bundle, which has a {MANIFEST}, got {len(files)} other files: push it with "
            f"`taemi-edge push`"
        )
    return Artifact(found, files, signed)


def _layer(title: str, digest: str, size: int, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size, "annotations": {TITLE: title}}


def _checked(descriptor: _Descriptor, where: str) -> Layer:
    """Accept a layer that is one plain file."""
    title = (descriptor.annotations or {}).get(TITLE, "")
    if title.startswith(".") or file_name_problem(title):
        raise RegistryError(f"{where}: expected a layer that is titled with a plain file name, got {title!r:.80}")
    if not _DIGEST.fullmatch(descriptor.digest) or not 0 <= descriptor.size <= MOST_FILE_BYTES:
        raise RegistryError(
            f"{where}: expected a sha256 and a size of up to {MOST_FILE_BYTES:,} bytes of {title!r:.80}, got "
            f"{descriptor.digest!r:.80} and {descriptor.size!s:.40}"
        )
    return Layer(title, descriptor.digest, descriptor.size)


def _require_distinct(layers: list[Layer], where: str) -> None:
    """Some file systems know no difference between upper and lower case, nor between two ways to write an umlaut."""
    names = Counter(unicodedata.normalize("NFKC", layer.title).casefold() for layer in layers)
    for layer in layers:
        if names[unicodedata.normalize("NFKC", layer.title).casefold()] > 1:
            raise RegistryError(f"{where}: expected files of different names, got {layer.title!r:.80} twice")
